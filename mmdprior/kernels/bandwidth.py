"""Rules for the squared distance at which a radial kernel decays.

Every rule names a typical squared distance R between two draws; kernels turn it into their own
parameter: RBF takes l^2 = R/2, IMQ takes C = R. So the rules mean the same for every kernel, and
``sqrt_dim`` gives the usual l = sqrt(d) and the C = 2d of WAE-MMD (arXiv 1711.01558) on N(0, I).
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_precision
from mmdprior.priors import Prior
from mmdprior.seeding import stream

__all__ = ["Rule", "check", "decay", "median_of_prior", "median_squared_distance", "squared_distance"]

Rule = Literal["sqrt_dim", "median_prior", "median_batch"]
"""``sqrt_dim``: R = 2d. ``median_prior``: median over pairs of prior draws, once, when the kernel is
bound. ``median_batch``: median over the pooled batch and prior draws (the first 512 of each), anew at
each estimate and without a gradient."""

_MEDIAN_DRAWS = 1024
_SMALLEST = 1e-9
_LARGEST = 80.0


def check(name: str, value: float | Rule) -> float | Rule:
    """Return a positive number or the name of a rule, or raise `InputError`."""
    if isinstance(value, str):
        if value not in get_args(Rule):
            raise InputError(f"{name}: {value!r} received; give a positive number or {get_args(Rule)}")
        return value
    if isinstance(value, bool) or not _SMALLEST <= value <= 1 / _SMALLEST:
        raise InputError(
            f"{name}: {value} received; give a number from {_SMALLEST:g} to {1 / _SMALLEST:g} or one of "
            f"{get_args(Rule)}"
        )
    return float(value)


def median_of_prior(prior: Prior) -> float:
    """Median squared distance between independent prior draws (1,024 of them, a fixed stream)."""
    draws = prior.sample(_MEDIAN_DRAWS, stream(0, "bandwidth", device=prior.device))
    median = float(median_squared_distance(draws))
    if not 0 < median < math.inf:
        raise InputError(
            f"kernel: the median squared distance between draws of {type(prior).__name__} is {median}; "
            "give the bandwidth as a number"
        )
    return median


def median_squared_distance(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Median over the n(n-1)/2 pairs of rows, without a gradient; their mean where that is zero."""
    with torch.no_grad():
        upper = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
        distances = squared_distance(x, x)[upper[0], upper[1]]
        return torch.where(distances.median() > 0, distances.median(), distances.mean())


def squared_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Squared Euclidean distance of every pair, differentiable any number of times.

    By one matrix product on centred inputs, clamped at zero; its gradient 2(x - y) is exact where a
    root's would be infinite, also at distance zero.
    """
    distances: Tensor = _SquaredDistance.apply(x, None if y is x else y)
    return distances


def decay(squared: Float[Tensor, "*shape"], rate: float | Tensor) -> Float[Tensor, "*shape"]:
    """Return exp(-rate * squared), no smaller than exp(-80).

    Below 1e-38 float32 is subnormal, and a CPU takes ten times as long for it: short length-scales would
    spend their time on zeros.
    """
    if squared.device.type == "cpu" and squared.numel() and bool(squared.detach().amax() * rate > _LARGEST):
        squared = squared.clamp(max=_LARGEST / rate)
    return torch.exp(squared * -rate)


class _SquaredDistance(torch.autograd.Function):
    """|x - y|^2, keeping only x and y for the backward pass; y None stands for x."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, y: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, y)  # type: ignore[arg-type]
        with full_precision(x.device.type):
            centre = x.mean(0) if y is None else y.mean(0)
            x = x - centre
            y = x if y is None else y - centre
            norms = x.square().sum(1)
            others = norms if y is x else y.square().sum(1)
            distances = torch.addmm(norms[:, None] + others, x, y.T, alpha=-2.0)
            distances.clamp_(min=0)
        return distances.fill_diagonal_(0) if y is x else distances

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,) = grads
        if y is None:
            return _pull(grad + grad.T, x, x), None
        needs_x, needs_y = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (_pull(grad, x, y) if needs_x else None), (_pull(grad.T, y, x) if needs_y else None)


def _pull(grad: Float[Tensor, "n m"], x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Tensor:
    """Return 2 sum_b grad_ab (x_a - y_b)."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    with full_precision(x.device.type):
        return 2 * (x * grad.sum(1, keepdim=True) - grad @ y)
