"""Sums of a kernel over pairs, block by block: peak memory does not grow with n^2.

A kernel may return one matrix (n, m) or several (p, n, m); the sums are () or (p,).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = ["BLOCK", "SIDE", "recomputed", "sum_across", "sum_over", "sum_within"]

BLOCK = 2**22
"""Most pairs that are summed from one matrix, which spares the backward pass a second evaluation."""
SIDE = 2**10
"""Rows of the squares into which more are cut: few, since a kernel of many scales holds one a scale."""

PairKernel = Callable[[Tensor, Tensor], Tensor]


def sum_within(kernel: PairKernel, x: Tensor, *, diagonal: bool, parameters: Sequence[Tensor] = ()) -> Tensor:
    """Sum a symmetric kernel over the pairs of one sample, with or without a row's pair with itself.

    Args:
        kernel: of two samples.
        x: the sample.
        diagonal: whether a row's pair with itself counts.
        parameters: of the kernel; with more than `BLOCK` pairs, gradients reach x and these, once.
    """

    def block(rows: Tensor, others: Tensor) -> Tensor:
        gram = kernel(rows, others)
        total = gram.sum((-2, -1))
        if rows is not others:
            return 2 * total
        return total if diagonal else total - gram.diagonal(dim1=-2, dim2=-1).sum(-1)

    if len(x) ** 2 <= BLOCK:
        return block(x, x)
    total: Tensor = _BlockSum.apply(block, x, None, *parameters)
    return total


def sum_across(kernel: PairKernel, x: Tensor, y: Tensor, parameters: Sequence[Tensor] = ()) -> Tensor:
    """Sum a kernel over all pairs of a row of x and a row of y; `parameters` as in `sum_within`."""

    def block(rows: Tensor, others: Tensor) -> Tensor:
        return kernel(rows, others).sum((-2, -1))

    if len(x) * len(y) <= BLOCK:
        return block(x, y)
    total: Tensor = _BlockSum.apply(block, x, y, *parameters)
    return total


def sum_over(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Add a function of rows over blocks of so many; gradients reach x, once."""
    total: Tensor = _RowSum.apply(function, x, size)
    return total


class _RowSum(torch.autograd.Function):
    """Sum of a function over blocks of rows, evaluated once more in the backward pass; see `_BlockSum`."""

    @staticmethod
    def forward(ctx: Any, function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(x)
        first, *others = x.split(size)
        total = function(first)
        for rows in others:
            total += function(rows)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        found = torch.empty_like(x)
        for rows, place in zip(x.split(ctx.size), found.split(ctx.size), strict=True):
            part = rows.detach().requires_grad_()
            with torch.enable_grad():
                value = ctx.function(part)
            place.copy_(torch.autograd.grad(value, part, grad)[0])
        return None, found, None


class _BlockSum(torch.autograd.Function):
    """Sum of a function over blocks of pairs, evaluated once more in the backward pass.

    One node of the graph for all blocks: a node for each leaves small tensors between the large ones, and
    glibc's aligned allocations do not come back to holes of their own size (bug 14581), so that the heap
    would grow by a block at every step.
    """

    @staticmethod
    def forward(ctx: Any, block: PairKernel, x: Tensor, y: Tensor | None, *parameters: Tensor) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x, y, *parameters)
        total = x.new_zeros(())
        for a, b in _places(x, y):
            rows = x[a]
            total = total + block(rows, rows if y is None and a == b else (x if y is None else y)[b])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *parameters = ctx.saved_tensors
        grads = [
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((x, y, *parameters), ctx.needs_input_grad[1:], strict=True)
        ]
        source, target = (x, grads[0]) if y is None else (y, grads[1])
        for a, b in _places(x, y):
            rows = x[a].detach().requires_grad_(grads[0] is not None)
            others = rows
            if y is not None or a != b:
                others = source[b].detach().requires_grad_(target is not None)
            with torch.enable_grad():
                value = ctx.block(rows, others)
            # Where others are the rows themselves, both name one place.
            places = [None if grads[0] is None else grads[0][a], None if target is None else target[b]]
            named = dict(zip((rows, others, *parameters), (*places, *grads[2:]), strict=True))
            into = {tensor: place for tensor, place in named.items() if place is not None}
            found = torch.autograd.grad(value, list(into), grad, allow_unused=True)
            for place, part in zip(into.values(), found, strict=True):
                if part is not None:
                    place += part
        return (None, *grads)


def _places(x: Tensor, y: Tensor | None) -> Iterator[tuple[slice, slice]]:
    """Return the blocks: of rows of x and of y, or of the upper triangle of x with itself."""
    for a in range(0, len(x), SIDE):
        for b in range(a if y is None else 0, len(x if y is None else y), SIDE):
            yield slice(a, a + SIDE), slice(b, b + SIDE)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Evaluate, keeping the inputs alone; the backward pass evaluates once more."""
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result
