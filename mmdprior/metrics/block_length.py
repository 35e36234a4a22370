"""Length of blocks of consecutive rows that are nearly independent, estimated from the autocorrelation."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.precision import in_float64

__all__ = ["autocorrelation", "joint_level", "optimal_block_length"]

_ENTRIES = 1 << 22
"""Entries transformed at a time: 128 MiB for the complex spectrum of twice as many rows."""
_SIGNIFICANT = 2.0
"""Multiple of sqrt(log10(n) / n) below which an autocorrelation counts as zero; c in the paper."""
_MIN_INSIGNIFICANT = 5
"""Fewest lags in a row that must be insignificant; K_N in the paper."""


def optimal_block_length(z: Float[Tensor, "n d"]) -> int:
    """Return the block length of the circular block bootstrap, the largest over columns, at least 1.

    The automatic rule of Politis & White (2004), with the constants corrected by Patton, Politis & White
    (2009). With autocovariances R(k) and the flat-top kernel lambda,

        g = sum_k lambda(k / M) R(k),  G = sum_k lambda(k / M) |k| R(k),
        b = (2 G^2 / (4/3 g^2))^(1/3) n^(1/3).

    M is twice the lag m after which K autocorrelations in a row are insignificant. As in their software, M is
    at most ceil(sqrt n) + K, and b is at most ceil(min(3 sqrt n, n / 3)). An AR(1) process has
    G / g = 2 rho / (1 - rho^2).

    Args:
        z: rows in time order; constant columns are ignored.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.block_length import optimal_block_length
        >>> optimal_block_length(torch.randn(1000, 2)) < 10
        True
        >>> optimal_block_length(torch.randn(1000, 2).cumsum(0)) > 50
        True
    """
    n = len(z)
    lags = max(_MIN_INSIGNIFICANT, math.ceil(math.sqrt(math.log10(n))))
    longest = min(n - 1, math.ceil(math.sqrt(n)) + lags)
    limit = math.ceil(min(3 * math.sqrt(n), n / 3))
    lengths = [
        _block_length(column, n, lags, longest)
        for block in z.split(max(1, _ENTRIES // n), dim=1)
        for column in _autocovariances(block, longest).cpu().T
        if column[0] > 0
    ]
    return max(1, math.ceil(min(limit, max(lengths, default=1))))


def _block_length(covariances: Float[Tensor, "lags"], n: int, lags: int, longest: int) -> float:
    """Return b of one column from its autocovariances at lags 0, 1, ..., longest."""
    correlations = covariances[1:] / covariances[0]
    small = correlations.abs() < _SIGNIFICANT * math.sqrt(math.log10(n) / n)
    # runs[m]: whether the lags m + 1, ..., m + K are all insignificant.
    runs = small.unfold(0, min(lags, len(small)), 1).all(1)
    # Without such a run, m is the last significant lag.
    m = int(runs.int().argmax()) if bool(runs.any()) else int((~small).nonzero().max()) + 1
    width = min(2 * max(m, 1), longest)
    k = torch.arange(1, width + 1, dtype=torch.float64)
    # Flat-top kernel: 1 up to M/2, then linear to 0 at M. Lags k and -k have the same covariance.
    weighted = (2 * (1 - k / width)).clamp(max=1) * covariances[1 : width + 1]
    spectrum = covariances[0] + 2 * weighted.sum()
    slope = 2 * (k * weighted).sum()
    ratio = float(slope.square() / spectrum.square()) if spectrum != 0 else math.inf
    return float((2 * ratio / (4 / 3)) ** (1 / 3) * n ** (1 / 3))


def _autocovariances(z: Float[Tensor, "n d"], longest: int) -> Float[Tensor, "lags d"]:
    """Return 1/n sum_t x_t x_{t+k} of centred columns for lags 0 to ``longest``, by Fourier transform."""
    x = in_float64(z)
    x = x - x.mean(0)
    # Zero padding keeps the end from meeting the start; powers of two are fast.
    size = 1 << (len(x) + longest).bit_length()
    products = torch.fft.irfft(torch.fft.rfft(x, n=size, dim=0).abs().square(), n=size, dim=0)
    return products[: longest + 1] / len(x)


def autocorrelation(z: Float[Tensor, "n d"], lag: int) -> Float[Tensor, "d"]:
    """Return the correlation of rows at a distance of ``lag``, per column; 0 for constant columns."""
    x = in_float64(z)
    x = x - x.mean(0)
    total = x.square().sum(0)
    products = (x[lag:] * x[:-lag]).sum(0)
    return torch.where(total > 0, products / total.clamp(min=math.ulp(0.0)), 0.0)


def joint_level(values: Float[Tensor, "d"]) -> float:
    """Return sqrt(mean over pairs i < j of v_i v_j), and 0 where the mean is negative.

    Rows that depend on one another make two columns look dependent only if both columns do. The variance of
    their sample correlation grows with the products of their autocorrelations.
    """
    d = len(values)
    pairs = float((values.sum().square() - values.square().sum()) / (d * (d - 1))) if d > 1 else 0.0
    return math.sqrt(max(0.0, pairs))
