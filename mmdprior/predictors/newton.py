"""Weighted softmax regressions by Newton's method, many at once."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.predictors.moments import solve

__all__ = ["maximise", "weighted_grams"]

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
