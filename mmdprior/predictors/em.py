"""Mixtures of linear or logistic experts with a softmax gate, fitted by EM, many problems at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors.moments import solve

__all__ = ["Family", "Mixture", "expectation_maximisation", "maximisation", "maximise", "weighted_grams"]

_ENTRIES = 1 << 24
_HALVINGS = 6
_SETTLED = 1e-12


def weighted_grams(x: Float[Tensor, "p n D"], weights: Float[Tensor, "p n w"]) -> Float[Tensor, "p w D D"]:
    """Return X' diag(weights_w) X for every column of weights.

    One matrix product of the weights with the rows' outer products, in blocks of rows: the D (D + 1) / 2
    distinct entries are shared by all weights.
    """
    p, width = x.shape[0], x.shape[2]
    upper = torch.triu_indices(width, width, device=x.device)
    distinct = x.new_zeros(p, weights.shape[2], upper.shape[1])
    block = max(1, _ENTRIES // (p * upper.shape[1]))
    for rows, part in zip(x.split(block, 1), weights.split(block, 1), strict=True):
        distinct.baddbmm_(part.mT, rows[:, :, upper[0]] * rows[:, :, upper[1]])
    grams = x.new_empty(*distinct.shape[:2], width, width)
    grams[..., upper[0], upper[1]] = distinct
    grams[..., upper[1], upper[0]] = distinct
    return grams


def maximise(
    x: Float[Tensor, "p n D"],
    shares: Float[Tensor, "p n t K"],
    start: Float[Tensor, "p t K D"],
    allowed: Bool[Tensor, "t D"],
    ridge: float,
    steps: int,
) -> Float[Tensor, "p t K D"]:
    """Climb sum_k shares_k log softmax_k(W x) - n ridge |W|^2 / 2 with W_K = 0, for t targets of p problems.

    Newton steps, each halved until it climbs (six times at most, then not taken). Shares need not sum to
    one: their sum is the row's weight.

    Args:
        x: inputs.
        shares: weight of every class.
        start: (p, t, K, D) coefficients to begin from; the last class stays zero.
        allowed: inputs that a target may use.
        ridge: relative to the number of rows.
        steps: of Newton.
    """
    penalty = ridge * x.shape[1]
    free = start[:, :, :-1]
    value = _objective(x, shares, free, penalty)
    for _ in range(steps):
        direction = _direction(x, shares, free, allowed, penalty)
        for _ in range(_HALVINGS):
            tried = _objective(x, shares, free + direction, penalty)
            climbs = tried >= value
            if bool(climbs.all()):
                break
            direction = torch.where(climbs[:, :, None, None], direction, direction / 2)
        else:
            climbs = _objective(x, shares, free + direction, penalty) >= value
        step = torch.where(climbs[:, :, None, None], direction, 0.0)
        free = free + step
        if steps > 1:
            if float(step.abs().max()) <= _SETTLED * (1 + float(free.abs().max())):
                break
            value = _objective(x, shares, free, penalty)
    return torch.cat([free, torch.zeros_like(start[:, :, -1:])], 2)


def _logits(x: Tensor, free: Tensor) -> Tensor:
    logits = (x @ free.flatten(1, 2).mT).unflatten(2, free.shape[1:3])
    return torch.cat([logits, torch.zeros_like(logits[..., :1])], 3)


def _objective(x: Tensor, shares: Tensor, free: Tensor, penalty: float) -> Tensor:
    fit = (shares * _logits(x, free).log_softmax(3)).sum((1, 3))
    return fit - 0.5 * penalty * free.square().sum((2, 3))


def _direction(x: Tensor, shares: Tensor, free: Tensor, allowed: Tensor, penalty: float) -> Tensor:
    p, t, k, width = free.shape
    weight = shares.sum(3, keepdim=True)
    probability = _logits(x, free).softmax(3)[..., :-1]
    gradient = ((shares[..., :-1] - weight * probability).flatten(2).mT @ x).unflatten(1, (t, k))
    gradient = (gradient - penalty * free) * allowed[:, None]
    first, second = torch.triu_indices(k, k, device=x.device)
    products = probability[..., first] * ((first == second).to(x) - probability[..., second])
    grams = weighted_grams(x, (weight * products).flatten(2)).unflatten(1, (t, len(first)))
    grams = grams * (allowed[:, None, :, None] & allowed[:, None, None, :])
    hessian = x.new_empty(p, t, k, width, k, width)
    hessian[:, :, first, :, second, :] = grams.permute(2, 0, 1, 3, 4)
    hessian[:, :, second, :, first, :] = grams.permute(2, 0, 1, 3, 4)
    hessian = hessian.flatten(4).flatten(2, 3)
    hessian.diagonal(dim1=2, dim2=3).add_((penalty + ~allowed).repeat(1, k))
    return solve(hessian, gradient.flatten(2)).unflatten(2, (k, width))


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
