"""Nodes and weights of the integrals by which kernels are written as sums, in float64 on the CPU."""

import math

import torch
from torch import Tensor

__all__ = ["gamma_nodes", "projection_nodes", "spectral_nodes", "spectral_trapezoid"]


def gamma_nodes(alpha: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights for the mean over u ~ Gamma(alpha, 1).

    The trapezoid rule in t, u = alpha exp(t - exp(-t)): the integrand falls double-exponentially on both
    sides, and functions that vary sharply near u = 0 (low dimension, small bandwidth) are resolved too,
    which Gauss-Laguerre's nodes are not.
    """
    step = 0.12 / max(1.0, math.sqrt(alpha))
    t = torch.arange(-4.0 - max(0.0, -math.log(alpha)), 7.0, step, dtype=torch.float64)
    log_u = t - torch.exp(-t) + math.log(alpha)
    log_density = alpha * log_u - log_u.exp() - math.lgamma(alpha)
    weights = step * torch.exp(log_density) * (1 + torch.exp(-t))
    kept = weights > 1e-14
    return log_u[kept].exp(), weights[kept] / weights[kept].sum()


def projection_nodes(dim: int, count: int = 32) -> tuple[Tensor, Tensor]:
    """Nodes and weights for the mean over u^2, u one coordinate of a uniform direction in d dimensions.

    Gauss quadrature for the weight (1 - u^2)^((d-3)/2) by the eigenvalues of its Jacobi matrix (Golub
    & Welsch, Mathematics of Computation 23, 1969); the nodes come in pairs +-u, so one of each is kept.
    """
    k = torch.arange(1, count, dtype=torch.float64)
    half = (dim - 2) / 2
    below = torch.where(
        k == 1, torch.full_like(k, 1 / dim), k * (k + 2 * half - 1) / (4 * (k + half) * (k + half - 1))
    ).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(below, 1) + torch.diag(below, -1))
    weights = vectors[0].square()
    kept = (nodes > 0) & (weights > 1e-14)
    return nodes[kept].square(), weights[kept] / weights[kept].sum()


def spectral_nodes(count: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite frequencies and weights of exp(-r^2/2) = E cos(w r), w ~ N(0, 1): positive ones.

    The sum of weights is 1, so a few of them give a valid kernel of their own, with k(x, x) = 1.
    """
    k = torch.arange(1, 2 * count, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(k, 1) + torch.diag(k, -1))
    weights = vectors[0].square()
    return nodes[count:], 2 * weights[count:]


def spectral_trapezoid(period: float, cutoff: float) -> tuple[Tensor, Tensor]:
    """Frequencies and weights of the trapezoid rule for exp(-r^2/2) = E cos(w r), w ~ N(0, 1).

    The sum is the kernel repeated with the given period, but for the spectrum beyond the cutoff. The
    first frequency is zero.
    """
    step = 2 * math.pi / period
    nodes = torch.arange(math.ceil(cutoff / step) + 1, dtype=torch.float64) * step
    weights = 2 * step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * nodes.square())
    weights[0] /= 2
    return nodes, weights
