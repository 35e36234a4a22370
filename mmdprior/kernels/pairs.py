"""Sums of a kernel over pairs, block by block: peak memory does not grow with n^2.

A kernel may return one matrix (n, m) or several (p, n, m); the sums are () or (p,).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["BLOCK", "recomputed", "sum_across", "sum_within"]

BLOCK = 2**22
"""Pairs held at a time; a sample with fewer is summed from one matrix, which keeps its backward pass
from evaluating the kernel again."""


def sum_within(kernel: Callable[[Tensor, Tensor], Tensor], x: Tensor, *, diagonal: bool) -> Tensor:
    """Sum a symmetric kernel over the pairs of one sample, with or without a row's pair with itself."""

    def own(rows: Tensor) -> Tensor:
        gram = kernel(rows, rows)
        total = gram.sum((-2, -1))
        return total if diagonal else total - gram.diagonal(dim1=-2, dim2=-1).sum(-1)

    def other(rows: Tensor, rest: Tensor) -> Tensor:
        return 2 * kernel(rows, rest).sum((-2, -1))

    if len(x) ** 2 <= BLOCK:
        return own(x)
    total = x.new_zeros(())
    size = max(1, BLOCK // len(x))
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        total = total + recomputed(own, rows)
        if start + size < len(x):
            total = total + recomputed(other, rows, x[start + size :])
    return total


def sum_across(kernel: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Sum a kernel over all pairs of a row of x and a row of y."""

    def both(rows: Tensor, others: Tensor) -> Tensor:
        return kernel(rows, others).sum((-2, -1))

    if len(x) * len(y) <= BLOCK:
        return both(x, y)
    total = x.new_zeros(())
    for rows in x.split(max(1, BLOCK // len(y))):
        total = total + recomputed(both, rows, y)
    return total


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Evaluate, keeping the inputs alone; the backward pass evaluates once more."""
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result
