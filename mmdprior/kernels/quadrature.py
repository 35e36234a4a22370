"""Quadrature rules that write kernels as finite sums: nodes and weights in float64 on the CPU."""

import math

import torch
from torch import Tensor

__all__ = ["gamma_nodes", "gauss_hermite_frequencies", "projection_nodes", "trapezoid_frequencies"]

_MIN_WEIGHT = 1e-14
"""Nodes of smaller weight are dropped; the weights sum to 1."""


def gamma_nodes(alpha: float) -> tuple[Tensor, Tensor]:
    """Return nodes and weights for the mean over u ~ Gamma(alpha, 1).

    Trapezoid rule in t, where u = alpha exp(t - exp(-t)). The integrand falls double-exponentially on
    both sides (Takahasi & Mori, Publications of RIMS 9, 1974), so that functions that vary sharply near
    u = 0 (low dimension, short bandwidth) are resolved too, which Gauss-Laguerre nodes do not achieve.

    Example:
        >>> u, weights = gamma_nodes(2.0)
        >>> round(float(weights @ u), 9)  # E u = alpha
        2.0
    """
    step = 0.12 / max(1.0, math.sqrt(alpha))
    t = torch.arange(-4.0 - max(0.0, -math.log(alpha)), 7.0, step, dtype=torch.float64)
    log_u = t - torch.exp(-t) + math.log(alpha)
    # p(u) du = exp(alpha log u - u) / Gamma(alpha) d log u, and d log u / dt = 1 + exp(-t).
    log_density = alpha * log_u - log_u.exp() - math.lgamma(alpha)
    weights = step * torch.exp(log_density) * (1 + torch.exp(-t))
    kept = weights > _MIN_WEIGHT
    return log_u[kept].exp(), weights[kept] / weights[kept].sum()


def projection_nodes(dim: int, count: int = 32) -> tuple[Tensor, Tensor]:
    """Return nodes and weights for the mean over u^2, u one coordinate of a uniform direction in R^d.

    u has density proportional to (1 - u^2)^((d-3)/2). Gauss-Gegenbauer quadrature from the eigenvalues
    of the Jacobi matrix (Golub & Welsch, Mathematics of Computation 23, 1969). The nodes come in pairs +-u,
    of which one is kept.

    Args:
        dim: d.
        count: number of nodes before the pairs are merged.

    Example:
        >>> squared, weights = projection_nodes(5)
        >>> round(float(weights @ squared), 9)  # E u^2 = 1/d
        0.2
    """
    k = torch.arange(1, count, dtype=torch.float64)
    half = (dim - 2) / 2  # parameter of the Gegenbauer polynomials
    # Off-diagonal entries of the Jacobi matrix; the formula for k = 1 is 0/0 at d = 2.
    below = torch.where(
        k == 1, torch.full_like(k, 1 / dim), k * (k + 2 * half - 1) / (4 * (k + half) * (k + half - 1))
    ).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(below, 1) + torch.diag(below, -1))
    weights = vectors[0].square()
    kept = (nodes > 0) & (weights > _MIN_WEIGHT)
    return nodes[kept].square(), weights[kept] / weights[kept].sum()


def gauss_hermite_frequencies(count: int) -> tuple[Tensor, Tensor]:
    """Return Gauss-Hermite nodes and weights of exp(-r^2/2) = E cos(w r), w ~ N(0, 1): the positive nodes.

    The weights sum to 1, so few frequencies also give a valid kernel with k(x, x) = 1.

    Args:
        count: number of positive frequencies.
    """
    k = torch.arange(1, 2 * count, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(k, 1) + torch.diag(k, -1))
    weights = vectors[0].square()
    return nodes[count:], 2 * weights[count:]


def trapezoid_frequencies(period: float, cutoff: float) -> tuple[Tensor, Tensor]:
    """Return the trapezoid rule for exp(-r^2/2) = E cos(w r), w ~ N(0, 1), on equally spaced frequencies.

    The sum repeats the kernel with the given period (Poisson summation) and omits the spectrum beyond the
    cutoff. The first frequency is zero.

    Args:
        period: distance r after which the sum repeats.
        cutoff: largest frequency, rounded up to a multiple of the step 2 pi / period.
    """
    step = 2 * math.pi / period
    nodes = torch.arange(math.ceil(cutoff / step) + 1, dtype=torch.float64) * step
    weights = 2 * step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * nodes.square())
    weights[0] /= 2
    return nodes, weights
