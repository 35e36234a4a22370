"""Incomplete beta and gamma functions that torch lacks: logarithms of tails, and their inverses.

Everything is float64 and acts entry by entry. Arguments are log-odds or logarithms, so that tails keep
their relative accuracy however small the shape parameters are.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = [
    "beta_log_odds",
    "expectation",
    "gamma_log_quantile",
    "log_beta_cdf",
    "log_beta_function",
    "trapezoid",
]

_SMALLEST = 1e-300
_CONVERGED = 2e-15


def log_beta_function(a: Tensor, b: Tensor) -> Tensor:
    """log B(a, b)."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def log_beta_cdf(a: Tensor, b: Tensor, log_odds: Tensor) -> Tensor:
    """Logarithm of the regularised incomplete beta function I_y(a, b), y = sigmoid(log_odds).

    By the continued fraction of DLMF 8.17.22 on the side where it converges fast, y below
    (a + 1) / (a + b + 2); on the other side by I_y(a, b) = 1 - I_{1-y}(b, a).
    """
    swap = torch.sigmoid(log_odds) >= (a + 1) / (a + b + 2)
    first, second = torch.where(swap, b, a), torch.where(swap, a, b)
    odds = torch.where(swap, -log_odds, log_odds)
    log_y = logsigmoid(odds)
    log_front = first * log_y + second * logsigmoid(-odds) - log_beta_function(first, second)
    tail = log_front - first.log() + _continued_fraction(first, second, log_y.exp()).log()
    return torch.where(swap, torch.log1p(-tail.exp().clamp(max=1)), tail.clamp(max=0))


def _continued_fraction(a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """Evaluate the fraction by the modified Lentz method, two coefficients a round."""
    c = torch.ones_like(y)
    d = 1 / _nonzero(1 - (a + b) * y / (a + 1))
    value = d
    for m in range(1, 10_000):
        for coefficient in (
            m * (b - m) * y / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * y / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            value = value * (c * d)
        if m % 4 == 0 and not bool(((c * d - 1).abs() > _CONVERGED).any()):
            break
    return value


def _nonzero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < _SMALLEST, _SMALLEST, x)


def beta_log_odds(a: float, b: float, p: Tensor, q: Tensor) -> Tensor:
    """Solve I_y(a, b) = p for log(y / (1 - y)), given q = 1 - p to its own accuracy."""
    flip = p > q
    first = torch.where(flip, p.new_tensor(b), a)
    second = torch.where(flip, p.new_tensor(a), b)
    log_norm = log_beta_function(first, second)

    def log_tail(x: Tensor) -> tuple[Tensor, Tensor]:
        value = log_beta_cdf(first, second, x)
        return value, (first * logsigmoid(x) + second * logsigmoid(-x) - log_norm - value).exp()

    target = torch.where(flip, q, p).clamp(min=_SMALLEST).log()
    solution = _solve(log_tail, target, (first / second).log())
    return torch.where(flip, -solution, solution)


def gamma_log_quantile(a: float, p: Tensor, q: Tensor) -> Tensor:
    """Solve P(a, y) = p, the regularised lower incomplete gamma function, for log y, given q = 1 - p."""
    flip = p > q
    shape = torch.full_like(p, a)

    def log_tail(x: Tensor) -> tuple[Tensor, Tensor]:
        log_y = torch.where(flip, -x, x)
        y = log_y.exp()
        tails = torch.where(flip, torch.special.gammaincc(shape, y), torch.special.gammainc(shape, y))
        value = tails.log()
        return value, (shape * log_y - y - torch.lgamma(shape) - value).exp()

    start = shape.log()
    target = torch.where(flip, q, p).clamp(min=_SMALLEST).log()
    solution = _solve(log_tail, target, torch.where(flip, -start, start))
    return torch.where(flip, -solution, solution)


def _solve(function: Callable[[Tensor], tuple[Tensor, Tensor]], target: Tensor, start: Tensor) -> Tensor:
    """Solve function(x) = target by Newton steps, or bisection where one would leave the bracket.

    The function increases and is concave, as the logarithm of the tail of a log-concave density is, so
    that Newton's method converges from anywhere.

    Args:
        function: returns value and slope.
        target: values to reach.
        start: where to begin.
    """
    low, high, x = torch.full_like(start, -1e7), torch.full_like(start, 1e7), start
    for _ in range(200):
        value, slope = function(x)
        below = value < target
        low, high = torch.where(below, x, low), torch.where(below, high, x)
        newton = x + (target - value) / slope
        following = torch.where((newton >= low) & (newton <= high), newton, low + (high - low) / 2)
        close = (target - value).abs() <= 1e-13 * (1 + target.abs())
        close |= (following - x).abs() <= _CONVERGED * (1 + x.abs())
        x = following
        if bool(close.all()):
            break
    return x


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
