"""Squared distances of all pairs of rows, and their exponential decay."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.precision import full_precision

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
    distances: Tensor = _SquaredDistance.apply(x, None if y is x else y)
    return distances


def decay(squared: Float[Tensor, "*shape"], rate: float | Tensor) -> Float[Tensor, "*shape"]:
    """Compute exp(-rate * squared), bounded below by exp(-80).

    Below 1.2e-38, float32 is subnormal, which a CPU processes ten times more slowly: without the bound,
    kernels of short length-scale would spend their time on zeros. Checking the largest exponent first saves
    a copy of the matrix. On a GPU neither is needed, and the check would synchronise.
    """
    if (
        squared.device.type == "cpu"
        and squared.numel()
        and bool(squared.detach().amax() * rate > _MAX_EXPONENT)
    ):
        squared = squared.clamp(max=_MAX_EXPONENT / rate)
    return torch.exp(squared * -rate)


class _SquaredDistance(torch.autograd.Function):
    """|x - y|^2 of all pairs, saving only x and y for the backward pass; y is None where it equals x.

    Autograd would also save the (n, m) matrix for the clamp. Its gradient would be zero wherever rounding
    makes a small distance negative, while 2 (x - y) is right there as well.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, y: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, y)  # type: ignore[arg-type]
        with full_precision(x.device.type):
            # |x - y|^2 = |x|^2 + |y|^2 - 2 x'y cancels digits far from the origin, hence the centring.
            centre = x.mean(0) if y is None else y.mean(0)
            x = x - centre
            y = x if y is None else y - centre
            norms_x = x.square().sum(1)
            norms_y = norms_x if y is x else y.square().sum(1)
            distances = torch.addmm(norms_x[:, None] + norms_y, x, y.T, alpha=-2.0)
            distances.clamp_(min=0)
        return distances.fill_diagonal_(0) if y is x else distances

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,) = grads
        if y is None:
            return _gradient(grad + grad.T, x, x), None
        needs_x, needs_y = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (_gradient(grad, x, y) if needs_x else None), (_gradient(grad.T, y, x) if needs_y else None)


def _gradient(grad: Float[Tensor, "n m"], x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Tensor:
    """Compute sum_b grad_ab d|x_a - y_b|^2 / dx_a = 2 sum_b grad_ab (x_a - y_b)."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    with full_precision(x.device.type):
        return 2 * (x * grad.sum(1, keepdim=True) - grad @ y)
