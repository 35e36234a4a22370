"""Mixtures of experts fitted by EM, many problems at once.

Shapes: p problems, n rows, D inputs, t targets per problem, K experts per target, C classes.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.mixture import Family, Mixture
from mmdprior.predictors.moments import solve
from mmdprior.predictors.newton import products, softmax_regression, weighted_grams

__all__ = [
    "class_shares",
    "expectation_maximisation",
    "least_squares",
    "m_step",
    "random_start",
    "variance_floor",
]

_MIN_VARIANCE_SHARE = 1e-4
"""Smallest variance of a linear expert, relative to the target's; it keeps the likelihood bounded."""
_TINY = 1e-12
_GATE_NORM = 3.0
"""Norm of the random gates' rows at the start."""


def expectation_maximisation(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    start: Mixture,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Iterator[Mixture]:
    """Yield the mixture after each iteration of EM (Jordan & Jacobs, 1994), without end.

    There is no step size. For exponential families EM is projected mirror descent with unit step, with a KL
    divergence as regulariser (Fruytier, Mokhtari & Sanghavi, arXiv 2411.06056).

    Args:
        x: inputs; add a column of ones for an intercept.
        y: targets; 0 or 1 for logistic experts, the index of the class for multinomial ones.
        start: initial mixture.
        mask: inputs that each target may use; all of them by default. The other coefficients stay zero.
        ridge: penalty on all coefficients, relative to the number of rows.
        newton_steps: Newton steps of the gate and of classifying experts per iteration. One step increases
            the likelihood; 20 are exact.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Mixture, expectation_maximisation
        >>> x = torch.randn(1, 1000, 1)
        >>> y = x.abs() + 0.1 * torch.randn(1, 1000, 1)
        >>> slopes = torch.tensor([[[[0.5], [-0.5]]]])
        >>> start = Mixture(slopes, slopes, torch.ones(1, 1, 2))
        >>> steps = expectation_maximisation(x, y, start)
        >>> for _ in range(20):
        ...     mixture = next(steps)
        >>> mixture.experts.flatten().round(decimals=1)
        tensor([ 1., -1.])
    """
    mixture = start
    while True:
        # E-step: r_k = softmax_k(W x) p_k(y|x) / sum_j softmax_j(W x) p_j(y|x).
        responsibilities = mixture.log_joint(x, y).softmax(3)
        mixture = m_step(x, y, responsibilities, mixture, mask=mask, ridge=ridge, newton_steps=newton_steps)
        yield mixture


def m_step(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    responsibilities: Float[Tensor, "p n t K"],
    previous: Mixture,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
    counts: list[int] | None = None,
) -> Mixture:
    """Return the mixture that maximises the expected log-likelihood under the responsibilities.

    Linear experts are weighted least squares, in closed form. The gate and classifying experts are fitted by
    Newton steps (iteratively reweighted least squares) from ``previous``.

    Args:
        x: inputs.
        y: targets; 0 or 1 for logistic experts, the index of the class for multinomial ones.
        responsibilities: probability of every expert, for every row and target.
        previous: mixture that sets the kind of the experts, and where Newton's method starts.
        mask: inputs that each target may use; all of them by default.
        ridge: penalty on all coefficients, relative to the number of rows.
        newton_steps: Newton steps of the gate and of classifying experts.
        counts: list to which the numbers of computed Newton steps are appended.
    """
    allowed = x.new_ones(y.shape[2], x.shape[2], dtype=torch.bool) if mask is None else mask
    # Gate: W = argmax sum_n sum_k r_nk log softmax_k(W x_n).
    gate = softmax_regression(x, responsibilities, previous.gate, allowed, ridge, newton_steps, counts)
    if previous.variance is None:
        experts = _classifiers(x, y, responsibilities, previous, allowed, ridge, newton_steps, counts)
        return Mixture(gate, experts, None)
    grams = weighted_grams(x, responsibilities.flatten(2)).unflatten(1, responsibilities.shape[2:])
    right = ((responsibilities * y[..., None]).flatten(2).mT @ x).unflatten(1, responsibilities.shape[2:])
    experts = least_squares(grams, right, allowed, ridge * x.shape[1])
    # s_k^2 = sum_n r_nk (y_n - b_k'x_n)^2 / sum_n r_nk.
    squared = (y[..., None] - products(x, experts)).square()
    weight = responsibilities.sum(1)
    variance = torch.maximum(
        (responsibilities * squared).sum(1) / weight.clamp(min=_TINY), variance_floor(y)[..., None]
    )
    return Mixture(gate, experts, variance.clamp(min=_TINY))


def least_squares(
    grams: Float[Tensor, "p t K D D"],
    right: Float[Tensor, "p t K D"],
    allowed: Bool[Tensor, "t D"],
    penalty: float,
) -> Float[Tensor, "p t K D"]:
    """Return b_k = (X'R_k X + penalty I)^-1 X'R_k y with R_k = diag(r_k).

    Args:
        grams: X'R_k X.
        right: X'R_k y.
        allowed: inputs that each target may use.
        penalty: penalty on all coefficients.
    """
    grams = grams * (allowed[:, None, :, None] & allowed[:, None, None, :])
    # A masked input gets a row of the identity and a zero on the right, so its coefficient is zero.
    grams.diagonal(dim1=3, dim2=4).add_(penalty + ~allowed[:, None])
    return solve(grams, right * allowed[:, None])


def variance_floor(y: Float[Tensor, "p n t"]) -> Float[Tensor, "p t"]:
    """Return the smallest variance of a linear expert, 1e-4 of the target's."""
    return _MIN_VARIANCE_SHARE * y.var(1, correction=0)


def class_shares(y: Float[Tensor, "p n t"], mixture: Mixture) -> Float[Tensor, "p n t C"]:
    """Return the one-hot classes of the targets of classifying experts, in the order of their coefficients.

    The class without coefficients is the last one. For logistic experts this is y = 0.
    """
    if mixture.family == "logistic":
        return torch.stack([y, 1 - y], 3)
    return functional.one_hot(y.long(), mixture.experts.shape[3]).to(y)


def _classifiers(
    x: Tensor,
    y: Tensor,
    responsibilities: Tensor,
    previous: Mixture,
    allowed: Tensor,
    ridge: float,
    newton_steps: int,
    counts: list[int] | None,
) -> Tensor:
    """Return b_k = argmax sum_n r_nk log p_k(y_n|x_n).

    This is a softmax regression on the classes with weights r_k 1[y = c], one per expert.
    """
    t, k = responsibilities.shape[2:]
    weights = responsibilities[..., None] * class_shares(y, previous)[..., None, :]
    start = previous.experts
    if previous.family == "logistic":
        start = torch.stack([start, torch.zeros_like(start)], 3)
    coefficients = softmax_regression(
        x,
        weights.flatten(2, 3),
        start.flatten(1, 2),
        allowed.repeat_interleave(k, 0),
        ridge,
        newton_steps,
        counts,
    ).unflatten(1, (t, k))
    return coefficients[:, :, :, 0] if previous.family == "logistic" else coefficients


def random_start(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    experts: int,
    family: Family,
    generators: Sequence[torch.Generator],
    *,
    classes: int = 2,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Mixture:
    """Return a mixture with random gates of norm 3, and experts fitted under these gates.

    Args:
        x: inputs, about standardised, with a column of ones for an intercept.
        y: targets; repeat a target for several starts of it.
        experts: number K of experts per target.
        family: kind of all experts.
        generators: one random stream per problem, on the CPU.
        classes: number C of classes of multinomial experts.
        mask: inputs that each target may use; all of them by default.
        ridge: penalty on all coefficients, relative to the number of rows.
        newton_steps: Newton steps of classifying experts.

    Example:
        >>> import torch
        >>> from mmdprior.predictors.em import random_start
        >>> x, y = torch.randn(1, 50, 2), torch.randn(1, 50, 1)
        >>> random_start(x, y, 3, "linear", [torch.Generator()]).experts.shape
        torch.Size([1, 1, 3, 2])
    """
    t, width = y.shape[2], x.shape[2]
    draws = [torch.randn((t, experts, width), generator=g, dtype=torch.float32) for g in generators]
    gate = torch.stack(draws).to(x)
    if mask is not None:
        gate = gate * mask[:, None]
    gate = _GATE_NORM * gate / gate.norm(dim=3, keepdim=True)
    zero = torch.zeros_like(gate)
    variance = torch.ones_like(gate[..., 0]) if family == "linear" else None
    if family == "multinomial":
        zero = zero[:, :, :, None].repeat(1, 1, 1, classes, 1)
    gated = Mixture(gate, zero, variance)
    # The first experts are fitted under the random gate, before any E-step. The gate is fitted from zero.
    responsibilities = gated.log_gate(x).exp()
    previous = Mixture(torch.zeros_like(gate), zero, variance)
    return m_step(x, y, responsibilities, previous, mask=mask, ridge=ridge, newton_steps=newton_steps)
