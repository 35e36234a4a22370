"""Sums of a kernel over pairs of rows, block by block, so that peak memory does not grow with n^2.

A kernel may return one matrix (n, m), whose sum has shape (), or p matrices (p, n, m), whose sums have
shape (p,).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmdprior.tracing import is_traced, is_transformed

__all__ = ["MAX_ENTRIES", "checkpointed", "sum_across", "sum_over_rows", "sum_within"]

MAX_ENTRIES = 2**22
"""Largest matrix, in entries, that is held at once. Up to this size a sum over pairs is one matrix, which
autograd keeps: the backward pass needs no second evaluation."""
BLOCK_ROWS = 2**10
"""Rows and columns of the blocks of a larger matrix. Smaller than the square root of `MAX_ENTRIES`, because
a kernel with several scales holds one matrix per scale."""

PairKernel = Callable[[Tensor, Tensor], Tensor]


def sum_within(kernel: PairKernel, x: Tensor, *, diagonal: bool, parameters: Sequence[Tensor] = ()) -> Tensor:
    """Sum a symmetric kernel over the pairs of rows of one sample.

    Args:
        kernel: function of two samples that returns (n, m) or (p, n, m).
        x: the sample, (n, d).
        diagonal: whether to include the pairs of a row with itself.
        parameters: tensors that the kernel depends on. In blocks, gradients reach only x and these.
    """

    def block_sum(rows: Tensor, columns: Tensor) -> Tensor:
        gram = kernel(rows, columns)
        total = gram.sum((-2, -1))
        # Only blocks of the upper triangle are evaluated, so an off-diagonal block counts twice.
        if rows is not columns:
            return 2 * total
        return total if diagonal else total - gram.diagonal(dim1=-2, dim2=-1).sum(-1)

    if x.shape[0] ** 2 <= MAX_ENTRIES:
        return block_sum(x, x)
    if is_traced():
        return _sum_of_blocks(block_sum, x, None)
    total: Tensor = _PairSum.apply(block_sum, x, None, *parameters)
    return total


def sum_across(kernel: PairKernel, x: Tensor, y: Tensor, parameters: Sequence[Tensor] = ()) -> Tensor:
    """Sum a kernel over all pairs of a row of x and a row of y; arguments as for `sum_within`."""

    def block_sum(rows: Tensor, columns: Tensor) -> Tensor:
        return kernel(rows, columns).sum((-2, -1))

    if x.shape[0] * y.shape[0] <= MAX_ENTRIES:
        return block_sum(x, y)
    if is_traced():
        return _sum_of_blocks(block_sum, x, y)
    total: Tensor = _PairSum.apply(block_sum, x, y, *parameters)
    return total


def sum_over_rows(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Sum a function of rows over blocks of ``size`` rows; gradients reach only x."""
    if is_traced():
        return _sum_of_row_blocks(function, x, size)
    total: Tensor = _RowSum.apply(function, x, size)
    return total


def checkpointed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Evaluate a function and keep only its inputs; the backward pass evaluates it a second time.

    Transforms of torch.func do not support this, and keep everything.
    """
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    if not differentiable or is_transformed():
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def _sum_of_blocks(block_sum: PairKernel, x: Tensor, y: Tensor | None) -> Tensor:
    """Compute the sum of `_PairSum` from plain operations, differentiable any number of times."""
    total = x.new_zeros(())
    for a, b in _blocks(x, y):
        if y is None and a == b:
            total = total + checkpointed(lambda rows: block_sum(rows, rows), x[a])
        else:
            total = total + checkpointed(block_sum, x[a], (x if y is None else y)[b])
    return total


def _sum_of_row_blocks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Compute the sum of `_RowSum` from plain operations, differentiable any number of times."""
    first, *others = [checkpointed(function, rows) for rows in x.split(size)]
    return sum(others, first)


class _PairSum(torch.autograd.Function):
    """Sum of a function over blocks of pairs; the backward pass evaluates every block a second time.

    `checkpointed` per block would do the same with one graph node per block. This is one node for all blocks,
    because nodes leave small tensors between the large ones, and glibc does not reuse the holes of aligned
    allocations (bug 14581): the heap grew by one block per training step.
    """

    @staticmethod
    def forward(ctx: Any, block_sum: PairKernel, x: Tensor, y: Tensor | None, *parameters: Tensor) -> Tensor:
        ctx.block_sum = block_sum
        ctx.save_for_backward(x, y, *parameters)
        total = x.new_zeros(())
        for a, b in _blocks(x, y):
            rows = x[a]
            # On the diagonal of x with itself, both arguments are the same object: see `sum_within`.
            columns = rows if y is None and a == b else (x if y is None else y)[b]
            total = total + block_sum(rows, columns)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient must be differentiable itself
            total = _sum_of_blocks(ctx.block_sum, x, y)
            return None, *_gradients(total, (x, y, *parameters), ctx.needs_input_grad[1:], grad)
        grad_x, grad_y, *grad_parameters = [
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((x, y, *parameters), ctx.needs_input_grad[1:], strict=True)
        ]
        source, grad_source = (x, grad_x) if y is None else (y, grad_y)
        for a, b in _blocks(x, y):
            rows = x[a].detach().requires_grad_(grad_x is not None)
            columns = rows
            if y is not None or a != b:
                columns = source[b].detach().requires_grad_(grad_source is not None)
            with torch.enable_grad():
                value = ctx.block_sum(rows, columns)
            # Tensor -> where its gradient is accumulated. On the diagonal rows and columns are one tensor,
            # and both entries name the same slice.
            slices = [None if grad_x is None else grad_x[a], None if grad_source is None else grad_source[b]]
            targets = dict(zip((rows, columns, *parameters), (*slices, *grad_parameters), strict=True))
            wanted = {tensor: target for tensor, target in targets.items() if target is not None}
            gradients = torch.autograd.grad(value, list(wanted), grad, allow_unused=True)
            for target, gradient in zip(wanted.values(), gradients, strict=True):
                if gradient is not None:
                    target += gradient
        return (None, grad_x, grad_y, *grad_parameters)


def _blocks(x: Tensor, y: Tensor | None) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks of x with y, or of the upper triangle of x with itself where y is None."""
    for a in range(0, x.shape[0], BLOCK_ROWS):
        for b in range(a if y is None else 0, (x if y is None else y).shape[0], BLOCK_ROWS):
            yield slice(a, a + BLOCK_ROWS), slice(b, b + BLOCK_ROWS)


class _RowSum(torch.autograd.Function):
    """Sum of a function over blocks of rows; one graph node, for the reason given in `_PairSum`."""

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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: the gradient must be differentiable itself
            total = _sum_of_row_blocks(ctx.function, x, ctx.size)
            return None, *_gradients(total, (x,), ctx.needs_input_grad[1:2], grad), None
        grad_x = torch.empty_like(x)
        for rows, grad_rows in zip(x.split(ctx.size), grad_x.split(ctx.size), strict=True):
            block = rows.detach().requires_grad_()
            with torch.enable_grad():
                value = ctx.function(block)
            grad_rows.copy_(torch.autograd.grad(value, block, grad)[0])
        return None, grad_x, None


def _gradients(
    total: Tensor, inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """Return the differentiable gradient of a sum in each input that needs one, otherwise None."""
    wanted = [tensor for tensor, wants in zip(inputs, needed, strict=True) if tensor is not None and wants]
    gradients = iter(torch.autograd.grad(total, wanted, grad, create_graph=True, allow_unused=True))
    return [next(gradients) if wants else None for wants in needed]
