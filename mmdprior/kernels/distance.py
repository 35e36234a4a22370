"""Squared distances of all pairs of rows, and their exponential decay."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.precision import full_precision
from mmdprior.tracing import is_traced

__all__ = ["decay", "squared_distance"]

_MAX_EXPONENT = 80.0
"""exp(-80) = 1.8e-35 is well above the smallest normal number of float32, 1.2e-38."""


def squared_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Compute the squared Euclidean distance of every pair of rows, differentiable any number of times.

    Uses one matrix product on centred inputs, clamped at zero. The gradient 2 (x - y) is exact at distance
    zero too, where that of a square root is infinite.

    Example:
        >>> squared_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[25.,  0.]])
    """
    if is_traced():
        return _plain_squared_distance(x, y)
    distances: Tensor = _SquaredDistance.apply(x, None if y is x else y)
    return distances


def decay(squared: Float[Tensor, "*shape"], rate: float | Tensor) -> Float[Tensor, "*shape"]:
    """Compute exp(-rate * squared), bounded below by exp(-80).

    Below 1.2e-38, float32 is subnormal, which a CPU processes ten times more slowly: without the bound,
    kernels of short length-scale would spend their time on zeros.
    """
    exponent = squared * -rate
    if torch.compiler.is_compiling():
        exponent = exponent.clamp(min=-_MAX_EXPONENT)
    elif squared.device.type == "cpu":
        # In place and outside the graph, so that autograd does not keep the exponents for the bound.
        exponent.detach().clamp_min_(-_MAX_EXPONENT)
    return torch.exp(exponent)


def _expanded(x: Tensor, y: Tensor) -> Tensor:
    """Compute |x|^2 + |y|^2 - 2 x'y on centred inputs; far from the origin it would cancel digits."""
    centre = y.mean(0)
    x, y = x - centre, (x if y is x else y) - centre
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2.0)


def _plain_squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Compute the same from plain operations, see `is_traced`."""
    with full_precision(x.device.type):
        distances = _expanded(x, y)
    # Adds zero where the distance is positive. The bound at zero is outside the graph of gradients.
    distances = distances + (distances.clamp(min=0) - distances).detach()
    if y is x:
        diagonal = torch.eye(x.shape[0], dtype=torch.bool, device=x.device)
        distances = distances.masked_fill(diagonal, 0.0)
    return distances


class _SquaredDistance(torch.autograd.Function):
    """|x - y|^2 of all pairs, saving only x and y for the backward pass; y is None where it equals x.

    Autograd would also save the (n, m) matrix for the clamp. Its gradient would be zero wherever rounding
    makes a small distance negative, while 2 (x - y) is right there as well. And it would compute products of
    gradients under the precision settings of the backward pass.
    """

    @staticmethod
    def forward(x: Tensor, y: Tensor | None) -> Tensor:
        with full_precision(x.device.type):
            distances = _expanded(x, x if y is None else y).clamp_(min=0)
        return distances.fill_diagonal_(0) if y is None else distances

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        if y is None:
            return _gradient(grad + grad.T, x, x), None
        needs_x, needs_y = ctx.needs_input_grad
        return (_gradient(grad, x, y) if needs_x else None), (_gradient(grad.T, y, x) if needs_y else None)

    @staticmethod
    def jvp(ctx: Any, tangent_x: Tensor | None, tangent_y: Tensor | None) -> Tensor:
        x, y = ctx.saved_tensors
        if y is None:
            y, tangent_y = x, tangent_x
        return _directional(x, tangent_x, y) + _directional(y, tangent_y, x).T


def _gradient(grad: Float[Tensor, "n m"], x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Tensor:
    """Compute sum_b grad_ab d|x_a - y_b|^2 / dx_a = 2 sum_b grad_ab (x_a - y_b)."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    with full_precision(x.device.type):
        return 2 * (x * grad.sum(1, keepdim=True) - grad @ y)


def _directional(x: Tensor, tangent: Tensor | None, y: Tensor) -> Tensor:
    """Compute the change 2 (x_a - y_b)' tangent_a of the distances when x moves along a tangent."""
    if tangent is None:
        return x.new_zeros(x.shape[0], y.shape[0])
    centre = y.mean(0)
    x, y = x - centre, y - centre
    with full_precision(x.device.type):
        return 2 * ((x * tangent).sum(1, keepdim=True) - tangent @ y.T)
