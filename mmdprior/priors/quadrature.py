"""Expectations over one dimension by sums over nodes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["expectation", "trapezoid"]

_LARGEST = 2**21


def expectation(
    function: Callable[[Tensor, Tensor], Tensor], t: Tensor, nodes: Tensor, weights: Tensor
) -> Tensor:
    """sum_q w_q f(t, x_q) for every entry of t, in chunks that keep memory bounded.

    Args:
        function: broadcasts over both arguments.
        t: any shape.
        nodes: (m,) points x_q.
        weights: (m,) weights w_q.
    """
    rows = max(1, _LARGEST // len(nodes))
    parts = [(function(part[:, None], nodes) * weights).sum(1) for part in t.flatten().split(rows)]
    return torch.cat(parts).reshape(t.shape)


def trapezoid(low: float, high: float, step: float, like: Tensor) -> Tensor:
    """Return equally spaced float64 nodes from low to high, at most step apart.

    For an integrand that is analytic in a strip around the line and vanishes at both ends, their plain
    sum converges exponentially (Trefethen & Weideman, SIAM Review 56, 2014, theorem 5.1).
    """
    count = math.ceil((high - low) / step) + 1
    return torch.linspace(low, high, count, dtype=torch.float64, device=like.device)
