"""Softmax regressions by Newton's method, many problems and targets at once.

Shapes: p problems, n rows, D inputs, t targets per problem, K classes.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.predictors.moments import solve

__all__ = ["Curvature", "ascending_step", "objective", "products", "softmax_regression", "weighted_grams"]

_ENTRIES = 1 << 24
"""Outer products computed at a time, to bound memory."""
_FEW = 8
"""Number of weights up to which a product per weight is faster than products of all pairs of columns."""
_MAX_HALVINGS = 6
_TOLERANCE = 1e-12
"""Newton's method stops when a step is below this, relative to the largest coefficient."""


def softmax_regression(
    x: Float[Tensor, "p n D"],
    weights: Float[Tensor, "p n t K"],
    start: Float[Tensor, "p t K D"],
    allowed: Bool[Tensor, "t D"],
    ridge: float,
    steps: int,
    counts: list[int] | None = None,
) -> Float[Tensor, "p t K D"]:
    """Maximise sum_n sum_k weights_nk log softmax_k(W x_n) - n ridge |W|^2 / 2 with W_K = 0, by Newton.

    A step that does not increase the objective is halved, at most six times, and otherwise not taken. With
    several steps, decreases within rounding are accepted, since they hide the last steps to the maximum.

    Args:
        x: inputs.
        weights: weight of every class per row; a row's weights need not sum to one.
        start: initial coefficients; those of the last class stay zero.
        allowed: inputs that each target may use; the other coefficients stay zero.
        ridge: penalty on all coefficients, relative to the number of rows.
        steps: largest number of Newton steps.
        counts: list to which the number of computed steps, one gradient each, is appended.
    """
    penalty = ridge * x.shape[1]
    free = start[:, :, :-1]
    taken = 0
    value = objective(x, weights, free, penalty)
    for _ in range(steps if free.shape[2] else 0):
        taken += 1
        direction = Curvature(x, weights, free, allowed).direction(free, penalty)
        rounding = 8 * torch.finfo(x.dtype).eps * value.abs() if steps > 1 else 0.0
        step = ascending_step(x, weights, free, direction, penalty, value - rounding)
        free = free + step
        if steps > 1:
            if float(step.abs().max()) <= _TOLERANCE * (1 + float(free.abs().max())):
                break
            value = objective(x, weights, free, penalty)
    if counts is not None:
        counts.append(taken)
    return torch.cat([free, torch.zeros_like(start[:, :, -1:])], 2)


def ascending_step(
    x: Float[Tensor, "p n D"],
    weights: Float[Tensor, "p n t K"],
    free: Float[Tensor, "p t k D"],
    direction: Float[Tensor, "p t k D"],
    penalty: float,
    value: Float[Tensor, "p t"],
) -> Float[Tensor, "p t k D"]:
    """Return the direction, halved until the objective is at least ``value``, or zero after six halvings."""
    for _ in range(_MAX_HALVINGS):
        increases = objective(x, weights, free + direction, penalty) >= value
        if bool(increases.all()):
            return direction
        direction = torch.where(increases[:, :, None, None], direction, direction / 2)
    increases = objective(x, weights, free + direction, penalty) >= value
    return torch.where(increases[:, :, None, None], direction, 0.0)


def objective(
    x: Float[Tensor, "p n D"],
    weights: Float[Tensor, "p n t K"],
    free: Float[Tensor, "p t k D"],
    penalty: float,
) -> Float[Tensor, "p t"]:
    """Return the objective of `softmax_regression` for every problem and target.

    Args:
        x: inputs.
        weights: weight of every class per row.
        free: coefficients of all classes but the last.
        penalty: penalty on all coefficients.
    """
    fit = (weights * _logits(x, free).log_softmax(3)).sum((1, 3))
    return fit - 0.5 * penalty * free.square().sum((2, 3))


class Curvature:
    """Gradient g and negative Hessian H of sum_n sum_k weights_nk log softmax_k(W x_n), without penalty.

    With pi = softmax(W x) and row weight w_n = sum_k weights_nk:
    g_k = sum_n (weights_nk - w_n pi_nk) x_n,
    H_kl = sum_n w_n pi_nk (1[k = l] - pi_nl) x_n x_n', for all classes but the last.

    Args:
        x: inputs.
        weights: weight of every class per row.
        free: (p, t, K - 1, D) coefficients of all classes but the last.
        allowed: inputs that each target may use.

    Attributes:
        gradient: (p, t, K - 1, D) gradient.
        hessian: (p, t, (K - 1) D, (K - 1) D) negative Hessian.
    """

    def __init__(
        self,
        x: Float[Tensor, "p n D"],
        weights: Float[Tensor, "p n t K"],
        free: Float[Tensor, "p t k D"],
        allowed: Bool[Tensor, "t D"],
    ) -> None:
        p, t, k, width = free.shape
        self.allowed = allowed
        weight = weights.sum(3, keepdim=True)
        probability = _logits(x, free).softmax(3)[..., :-1]
        self.gradient = ((weights[..., :-1] - weight * probability).flatten(2).mT @ x).unflatten(1, (t, k))
        # H is symmetric in (k, l): compute the blocks k <= l, all from one weighted Gram product.
        first, second = torch.triu_indices(k, k, device=x.device)
        pairs = probability[..., first] * ((first == second).to(x) - probability[..., second])
        grams = weighted_grams(x, (weight * pairs).flatten(2)).unflatten(1, (t, len(first)))
        grams = grams * (allowed[:, None, :, None] & allowed[:, None, None, :])
        hessian = x.new_empty(p, t, k, width, k, width)
        hessian[:, :, first, :, second, :] = grams.permute(2, 0, 1, 3, 4)
        hessian[:, :, second, :, first, :] = grams.permute(2, 0, 1, 3, 4)
        self.hessian = hessian.flatten(4).flatten(2, 3)

    def direction(self, free: Float[Tensor, "p t k D"], penalty: float) -> Float[Tensor, "p t k D"]:
        """Return Newton's step (H + penalty I)^-1 (g - penalty W)."""
        k = free.shape[2]
        gradient = (self.gradient - penalty * free) * self.allowed[:, None]
        hessian = self.hessian.clone()
        # Rows of masked inputs are zero in H and g; a one on the diagonal makes their step zero.
        hessian.diagonal(dim1=2, dim2=3).add_((penalty + ~self.allowed).repeat(1, k))
        return solve(hessian, gradient.flatten(2)).unflatten(2, free.shape[2:])


def products(x: Float[Tensor, "p n D"], coefficients: Float[Tensor, "p t *K D"]) -> Float[Tensor, "p n t *K"]:
    """Return the inner products of every row with every vector of coefficients."""
    return (x @ coefficients.flatten(1, -2).mT).unflatten(2, coefficients.shape[1:-1])


def _logits(x: Tensor, free: Tensor) -> Tensor:
    """Return (p, n, t, K) logits; the last class has logit 0."""
    logits = products(x, free)
    return torch.cat([logits, torch.zeros_like(logits[..., :1])], 3)


def weighted_grams(x: Float[Tensor, "p n D"], weights: Float[Tensor, "p n w"]) -> Float[Tensor, "p w D D"]:
    """Return X' diag(weights_w) X for every column w of weights.

    Many weights share the rows' outer products x_n x_n', of which only the D (D + 1) / 2 distinct entries are
    computed, in blocks of rows, and summed by one matrix product. Few weights take a product each.
    """
    p, width = x.shape[0], x.shape[2]
    if weights.shape[2] <= _FEW:
        return _few_grams(x, weights)
    upper = torch.triu_indices(width, width, device=x.device)
    distinct = x.new_zeros(p, weights.shape[2], upper.shape[1])
    block = max(1, _ENTRIES // (p * upper.shape[1]))
    for rows, row_weights in zip(x.split(block, 1), weights.split(block, 1), strict=True):
        distinct.baddbmm_(row_weights.mT, rows[:, :, upper[0]] * rows[:, :, upper[1]])
    grams = x.new_empty(*distinct.shape[:2], width, width)
    grams[..., upper[0], upper[1]] = distinct
    grams[..., upper[1], upper[0]] = distinct
    return grams


def _few_grams(x: Tensor, weights: Tensor) -> Tensor:
    """Return X' diag(weights_w) X by one product per weight and block of rows."""
    p, width = x.shape[0], x.shape[2]
    grams = x.new_zeros(p, weights.shape[2], width, width)
    block = max(1, _ENTRIES // (p * width))
    for rows, row_weights in zip(x.split(block, 1), weights.split(block, 1), strict=True):
        for index, weight in enumerate(row_weights.unbind(2)):
            grams[:, index] += rows.mT @ (rows * weight[..., None])
    return grams
