"""Gradients of the log-likelihood of a mixture of experts, and steps along them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.em import class_shares, variance_floor
from mmdprior.predictors.mixture import Mixture
from mmdprior.predictors.newton import products

__all__ = ["Descent", "anchored", "gradients"]

_TINY = 1e-12


def gradients(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    responsibilities: Float[Tensor, "p n t K"],
    mixture: Mixture,
) -> list[Tensor]:
    """Return the mean gradients of EM's surrogate in gate, experts and, for linear ones, log-variances.

    The surrogate is sum_k r_k log(softmax_k(W x) p_k(y|x)). Where the responsibilities are those of the
    mixture itself, its gradient is that of the log-likelihood (Fisher's identity).

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Mixture
        >>> from mmdprior.predictors.descent import gradients
        >>> x, zero = torch.ones(1, 4, 1), torch.zeros(1, 1, 1, 1)
        >>> y = torch.tensor([[[1.0], [1.0], [1.0], [0.0]]])
        >>> gradients(x, y, torch.ones(1, 4, 1, 1), Mixture(zero, zero, None))[1].item()
        0.25
    """
    n = x.shape[1]

    def mean_product(residuals: Tensor) -> Tensor:
        """Return sum_n residual_n x_n / n for residuals of shape (p, n, ...)."""
        return (residuals.flatten(2).mT @ x).unflatten(1, residuals.shape[2:]) / n

    gate = mean_product(responsibilities - mixture.log_gate(x).exp())
    at = products(x, mixture.experts)
    if mixture.variance is not None:
        error = y[..., None] - at
        variance = mixture.variance[:, None]
        experts = mean_product(responsibilities * error / variance)
        slope = 0.5 * (responsibilities * (error.square() / variance - 1)).mean(1)
        return [gate, experts, slope]
    if mixture.family == "logistic":
        return [gate, mean_product(responsibilities * (y[..., None] - at.sigmoid()))]
    shares = class_shares(y, mixture)[..., None, :]
    return [gate, mean_product(responsibilities[..., None] * (shares - at.softmax(4)))]


def anchored(mixture: Mixture) -> Mixture:
    """Return the same mixture with zero coefficients for the last row of the gate, and for the last class."""
    gate, experts = mixture.gate, mixture.experts
    if mixture.family == "multinomial":
        experts = experts - experts[..., -1:, :]
    return Mixture(gate - gate[:, :, -1:], experts, mixture.variance)


def _penalty_slope(coefficients: Tensor, dim: int | None) -> Tensor:
    """Return the gradient of half the squared norm of coefficients, anchored along an axis if given."""
    if dim is None:
        return coefficients
    index = coefficients.shape[dim] - 1
    difference = coefficients - coefficients.narrow(dim, index, 1)
    rest = difference.narrow(dim, 0, index)
    return torch.cat([rest, -rest.sum(dim, keepdim=True)], dim)


@dataclass
class Descent:
    """Steps of gradient descent or Adam on the negative log-likelihood, or on EM's surrogate.

    All rows of the gate and all classes of multinomial experts have coefficients, as in a network; variances
    are changed in their logarithm. The penalty is that of EM, on the anchored coefficients.

    Attributes:
        x: (p, n, D) inputs.
        y: (p, n, t) targets.
        step_size: step size, or learning rate of Adam.
        ridge: penalty on all coefficients, relative to the number of rows.
        inner_steps: steps per E-step; 1 for plain descent, more for gradient EM.
        adam: whether steps are Adam's.
    """

    x: Float[Tensor, "p n D"]
    y: Float[Tensor, "p n t"]
    step_size: float
    ridge: float = 0.0
    inner_steps: int = 1
    adam: bool = False

    def __post_init__(self) -> None:
        self._floor = variance_floor(self.y)[..., None].clamp(min=_TINY)
        self._moments: list[tuple[Tensor, Tensor]] = []
        self._taken = 0

    def __call__(self, mixture: Mixture, responsibilities: Float[Tensor, "p n t K"]) -> Mixture:
        """Return the mixture after ``inner_steps`` steps with these responsibilities."""
        for _ in range(self.inner_steps):
            mixture = self._step(mixture, responsibilities)
        return mixture

    def _step(self, mixture: Mixture, responsibilities: Tensor) -> Mixture:
        slopes = gradients(self.x, self.y, responsibilities, mixture)
        parts = [mixture.gate, mixture.experts]
        slopes[0] = slopes[0] - self.ridge * _penalty_slope(mixture.gate, 2)
        dim = 3 if mixture.family == "multinomial" else None
        slopes[1] = slopes[1] - self.ridge * _penalty_slope(mixture.experts, dim)
        if mixture.variance is not None:
            parts.append(mixture.variance.log())
        if self.adam:
            slopes = list(self._adam(slopes))
        parts = [part + self.step_size * slope for part, slope in zip(parts, slopes, strict=True)]
        variance = torch.maximum(parts[2].exp(), self._floor) if len(parts) == 3 else None
        return Mixture(parts[0], parts[1], variance)

    def _adam(self, slopes: list[Tensor]) -> Iterator[Tensor]:
        """Yield Adam's directions (Kingma & Ba, 2015) with its usual constants."""
        self._taken += 1
        if not self._moments:
            self._moments = [(torch.zeros_like(g), torch.zeros_like(g)) for g in slopes]
        for g, (first, second) in zip(slopes, self._moments, strict=True):
            first.mul_(0.9).add_(g, alpha=0.1)
            second.mul_(0.999).addcmul_(g, g, value=0.001)
            scale = (second / (1 - 0.999**self._taken)).sqrt() + 1e-8
            yield first / (1 - 0.9**self._taken) / scale
