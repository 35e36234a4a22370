"""EM on minibatches, for data larger than memory."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.em import class_shares, least_squares, variance_floor
from mmdprior.predictors.mixture import Mixture
from mmdprior.predictors.newton import Curvature, ascending_step, objective, weighted_grams

__all__ = ["OnlineEM"]

_DECAY = 0.6
"""Batch number u has the weight (u + 1)^-0.6 in the running statistics; Cappe & Moulines need 0.5 to 1."""
_TINY = 1e-12


class OnlineEM:
    """Online EM (Cappe & Moulines, 2009, arXiv 0712.4273): one E-step and one damped M-step per minibatch.

    Linear experts are refitted from running means of their sufficient statistics. Gate and classifying
    experts have none of finite size. They take a Newton step on the minibatch with the running mean of the
    Hessian, damped by the weight of the minibatch.

    Args:
        mixture: initial mixture.
        ridge: penalty on all coefficients, relative to the number of rows.

    Attributes:
        mixture: mixture after the last minibatch.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Mixture
        >>> from mmdprior.predictors.minibatch import OnlineEM
        >>> slopes = torch.tensor([[[[0.5], [-0.5]]]])
        >>> online = OnlineEM(Mixture(slopes, slopes, torch.ones(1, 1, 2)))
        >>> for _ in range(40):
        ...     x = torch.randn(1, 200, 1)
        ...     online.update(x, x.abs() + 0.1 * torch.randn(1, 200, 1))
        >>> online.mixture.experts.flatten().round(decimals=1)
        tensor([ 1., -1.])
    """

    def __init__(self, mixture: Mixture, ridge: float = 1e-6) -> None:
        self.mixture = mixture
        self.ridge = ridge
        self._batches = 0
        self._means: dict[str, Tensor] = {}

    def update(self, x: Float[Tensor, "p b D"], y: Float[Tensor, "p b t"]) -> None:
        """Change the mixture by one minibatch."""
        self._batches += 1
        responsibilities = self.mixture.log_joint(x, y).softmax(3)
        gate = self._newton("gate", x, responsibilities, self.mixture.gate)
        if self.mixture.variance is not None:
            experts, variance = self._linear(x, y, responsibilities)
            self.mixture = Mixture(gate, experts, variance)
            return
        previous = self.mixture.experts
        is_logistic = self.mixture.family == "logistic"
        start = torch.stack([previous, torch.zeros_like(previous)], 3) if is_logistic else previous
        weights = responsibilities[..., None] * class_shares(y, self.mixture)[..., None, :]
        after = self._newton("experts", x, weights.flatten(2, 3), start.flatten(1, 2)).view_as(start)
        self.mixture = Mixture(gate, after[:, :, :, 0] if is_logistic else after, None)

    @property
    def _share(self) -> float:
        """Weight of the present minibatch; 1 for the first."""
        return float(self._batches**-_DECAY)

    def _mean(self, name: str, value: Tensor) -> Tensor:
        """Return the running mean of a statistic, with the present minibatch."""
        before = self._means.get(name, value)
        self._means[name] = before + self._share * (value - before)
        return self._means[name]

    def _newton(self, name: str, x: Tensor, weights: Tensor, coefficients: Tensor) -> Tensor:
        """Return the coefficients of a softmax regression after a damped Newton step on the minibatch."""
        free, rows = coefficients[:, :, :-1], x.shape[1]
        if not free.shape[2]:
            return coefficients
        allowed = x.new_ones(free.shape[1], x.shape[2], dtype=torch.bool)
        curvature = Curvature(x, weights, free, allowed)
        curvature.gradient = curvature.gradient / rows
        curvature.hessian = self._mean(name, curvature.hessian / rows)
        # A whole Newton step on the first minibatch would fit its noise.
        direction = (self._batches + 1) ** -_DECAY * curvature.direction(free, self.ridge)
        value = objective(x, weights, free, self.ridge * rows)
        free = free + ascending_step(x, weights, free, direction, self.ridge * rows, value)
        return torch.cat([free, coefficients[:, :, -1:]], 2)

    def _linear(self, x: Tensor, y: Tensor, responsibilities: Tensor) -> tuple[Tensor, Tensor]:
        """Return coefficients and variances from running means of X'R_kX, X'R_k y, y'R_k y and sum r_k."""
        statistics = dict(_statistics(x, y, responsibilities))
        grams, right, squares, weight = (self._mean(name, value) for name, value in statistics.items())
        floor = self._mean("floor", variance_floor(y))[..., None]
        allowed = x.new_ones(y.shape[2], x.shape[2], dtype=torch.bool)
        experts = least_squares(grams, right, allowed, self.ridge)
        fitted = (grams @ experts[..., None]).squeeze(-1)
        residual = squares - 2 * (experts * right).sum(3) + (experts * fitted).sum(3)
        variance = torch.maximum(residual / weight.clamp(min=_TINY), floor)
        return experts, variance.clamp(min=_TINY)


def _statistics(x: Tensor, y: Tensor, responsibilities: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the mean sufficient statistics of linear experts, by name."""
    rows, shape = x.shape[1], responsibilities.shape[2:]
    yield "grams", weighted_grams(x, responsibilities.flatten(2)).unflatten(1, shape) / rows
    yield "right", ((responsibilities * y[..., None]).flatten(2).mT @ x).unflatten(1, shape) / rows
    yield "squares", (responsibilities * y[..., None].square()).mean(1)
    yield "weight", responsibilities.mean(1)
