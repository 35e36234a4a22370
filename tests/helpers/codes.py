"""Codes whose dependence is known."""

import torch

QUICK = {"null": 0, "permutations": 0, "bootstrap": 0}
"""Arguments of `lps` for the bare score."""


def equicorrelated(rho, d=8, n=2000, seed=0):
    """Return Gaussian codes with all correlations rho, and their R2_i = 1 - 1 / (Sigma^-1)_ii."""
    covariance = torch.full((d, d), rho, dtype=torch.float64).fill_diagonal_(1.0)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    return z, float(1 - 1 / torch.linalg.inv(covariance)[0, 0])


def circle(n):
    t = 2 * torch.pi * torch.rand(n)
    return torch.stack([t.cos(), t.sin()], 1)


def parabola(n):
    a, b = torch.randn(2, n)
    return torch.stack([a, a.square() + 0.1 * b], 1)


def xor(n):
    """Return three dimensions of which every pair is independent."""
    a, b, e = torch.randn(3, n)
    return torch.stack([a, b, torch.sign(a * b) * e.abs()], 1)


def sphere(n):
    """Return uniform codes on the 3-sphere in R^4."""
    z = torch.randn(n, 4)
    return z / z.norm(dim=1, keepdim=True)


def duplicate(n):
    return torch.randn(n, 1).repeat(1, 2)


def dependent(*shape):
    """Return standardised codes of five dimensions with linear, quadratic and no dependence."""
    z = torch.randn(*shape, 5)
    z[..., 1] += z[..., 0]
    z[..., 2] = z[..., 0].square() + 0.2 * z[..., 2]
    return (z - z.mean(-2, keepdim=True)) / z.std(-2, keepdim=True)
