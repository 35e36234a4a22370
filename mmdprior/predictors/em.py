"""Mixtures of linear or logistic experts with a softmax gate, fitted by EM, many problems at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.moments import solve
from mmdprior.predictors.newton import maximise, weighted_grams

__all__ = ["Family", "Mixture", "expectation_maximisation", "maximisation"]

Family = Literal["linear", "logistic"]

_SMALLEST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Mixture:
    """p(y|x) = sum_k softmax_k(W x) p_k(y|x) for t targets of p problems, K experts each.

    A linear expert is N(b_k'x, s_k^2), a logistic one Bernoulli(sigma(b_k'x)).

    Attributes:
        gate: (p, t, K, D) rows W_k; the last is zero.
        experts: (p, t, K, D) coefficients b_k.
        variance: (p, t, K) of linear experts; None for logistic ones.
    """

    gate: Float[Tensor, "p t K D"]
    experts: Float[Tensor, "p t K D"]
    variance: Float[Tensor, "p t K"] | None

    def log_gate(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t K"]:
        """Log-probability of each expert."""
        return _products(x, self.gate).log_softmax(3)

    def mean(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n t"]:
        """E[y|x]."""
        means = _products(x, self.experts)
        if self.variance is None:
            means = means.sigmoid()
        return (self.log_gate(x).exp() * means).sum(3)

    def log_joint(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t K"]:
        """Log-probability of each expert and the target; softmax over experts gives responsibilities."""
        at = _products(x, self.experts)
        if self.variance is None:
            return self.log_gate(x) + functional.logsigmoid(torch.where(y[..., None] > 0.5, at, -at))
        variance = self.variance[:, None]
        squared = (y[..., None] - at).square() / variance
        return self.log_gate(x) - 0.5 * (squared + (2 * torch.pi * variance).log())

    def log_likelihood(self, x: Float[Tensor, "p n D"], y: Float[Tensor, "p n t"]) -> Float[Tensor, "p n t"]:
        """Log p(y|x)."""
        return self.log_joint(x, y).logsumexp(3)


def expectation_maximisation(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    start: Mixture,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Iterator[Mixture]:
    """Yield the mixture after each iteration, without end (Jordan & Jacobs, 1994).

    E-step: r_k prop. to softmax_k(W x) p_k(y|x). M-step: see `maximisation`. No step size: for exponential
    families this is mirror descent with unit step (arXiv 2411.06056).

    Args:
        x: inputs, with a column of ones where an intercept is wanted.
        y: targets; 0 or 1 for logistic experts.
        start: where to begin.
        mask: inputs that a target may use; all by default. The others keep coefficient zero.
        ridge: on all coefficients, relative to the number of rows.
        newton_steps: of the gate (and of logistic experts) an iteration; one climbs, 20 are exact.
    """
    family: Family = "logistic" if start.variance is None else "linear"
    mixture = start
    while True:
        responsibilities = mixture.log_joint(x, y).softmax(3)
        mixture = maximisation(
            x, y, responsibilities, family, mixture, mask=mask, ridge=ridge, newton_steps=newton_steps
        )
        yield mixture


def maximisation(
    x: Float[Tensor, "p n D"],
    y: Float[Tensor, "p n t"],
    responsibilities: Float[Tensor, "p n t K"],
    family: Family,
    previous: Mixture | None = None,
    *,
    mask: Bool[Tensor, "t D"] | None = None,
    ridge: float = 1e-6,
    newton_steps: int = 1,
) -> Mixture:
    """Return the mixture that responsibilities ask for.

    Linear experts by weighted least squares, b_k = (X'R_k X + n ridge I)^-1 X'R_k y and s_k^2 = sum r (y -
    b_k'x)^2 / sum r, in closed form; logistic ones and the gate by Newton steps from ``previous`` (from
    zero without), each halved until it climbs.

    Args:
        x: inputs.
        y: targets.
        responsibilities: of every expert for every row and target.
        family: of the experts.
        previous: where Newton begins.
        mask: inputs that a target may use.
        ridge: on all coefficients, relative to the number of rows.
        newton_steps: an M-step.
    """
    p, width = x.shape[0], x.shape[2]
    t, k = responsibilities.shape[2:]
    allowed = x.new_ones(t, width, dtype=torch.bool) if mask is None else mask
    zero = x.new_zeros(p, t, k, width)
    gate = zero if previous is None else previous.gate
    gate = maximise(x, responsibilities, gate, allowed, ridge, newton_steps)
    if family == "linear":
        experts = _least_squares(x, y, responsibilities, allowed, ridge)
        squared = (y[..., None] - _products(x, experts)).square()
        weight = responsibilities.sum(1)
        floor = _SMALLEST_VARIANCE * y.var(1, correction=0)[..., None]
        variance = torch.maximum((responsibilities * squared).sum(1) / weight.clamp(min=1e-12), floor)
        return Mixture(gate, experts, variance.clamp(min=1e-12))
    experts = zero if previous is None else previous.experts
    return Mixture(gate, _logistic(x, y, responsibilities, experts, allowed, ridge, newton_steps), None)


def _products(x: Tensor, coefficients: Tensor) -> Tensor:
    """Return (p, n, t, K) inner products of rows with (p, t, K, D) coefficients."""
    return (x @ coefficients.flatten(1, 2).mT).unflatten(2, coefficients.shape[1:3])


def _least_squares(x: Tensor, y: Tensor, responsibilities: Tensor, allowed: Tensor, ridge: float) -> Tensor:
    t, k = responsibilities.shape[2:]
    grams = weighted_grams(x, responsibilities.flatten(2)).unflatten(1, (t, k))
    right = ((responsibilities * y[..., None]).flatten(2).mT @ x).unflatten(1, (t, k))
    both = allowed[:, None, :, None] & allowed[:, None, None, :]
    grams = grams * both
    grams.diagonal(dim1=3, dim2=4).add_(ridge * x.shape[1] + ~allowed[:, None])
    return solve(grams, right * allowed[:, None])


def _logistic(
    x: Tensor,
    y: Tensor,
    responsibilities: Tensor,
    experts: Tensor,
    allowed: Tensor,
    ridge: float,
    newton_steps: int,
) -> Tensor:
    """Weighted logistic regressions: two-way softmaxes whose targets are r y and r (1 - y)."""
    t, k = responsibilities.shape[2:]
    share = torch.stack([responsibilities * y[..., None], responsibilities * (1 - y[..., None])], 4)
    start = torch.stack([experts, torch.zeros_like(experts)], 3).flatten(1, 2)
    repeated = allowed.repeat_interleave(k, 0)
    found = maximise(x, share.flatten(2, 3), start, repeated, ridge, newton_steps)
    return found[:, :, 0].unflatten(1, (t, k))
