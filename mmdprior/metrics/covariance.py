"""Dependence as far as covariances show it: closed forms in float64."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import check_integer
from mmdprior.precision import in_float64
from mmdprior.seeding import stream

__all__ = [
    "covariance_of",
    "covariance_ratio",
    "expected_total_correlation",
    "normal_scores",
    "random_rows",
    "rank_covariance",
    "spectral_rank",
    "tie_variance",
    "total_correlation",
]

_ENTRIES = 2**24
"""Entries of a block of rows: 128 MiB in float64."""


def random_rows(codes: Float[Tensor, "n d"], limit: int, seed: int, name: str) -> Float[Tensor, "m d"]:
    """Return at most ``limit`` random rows, in order; files are often sorted by class, so not the first ones.

    Args:
        codes: one row per sample.
        limit: largest number of rows.
        seed: seed of the selection.
        name: name of the random stream.
    """
    if len(codes) <= check_integer("max_rows", limit, 2):
        return codes
    rows = torch.randperm(len(codes), generator=stream(seed, name))[:limit]
    return codes[rows.sort().values.to(codes.device)]


def covariance_of(codes: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return the covariance of codes / max |codes| in float64, computed in blocks of rows.

    Only ratios of its entries are used. The division keeps the squares of huge codes finite. Columns that are
    1e-150 times as large as the largest one vanish, so correlations need `unit_scale` first.
    """
    chunks = codes.split(max(1, _ENTRIES // max(1, codes.shape[1])))
    low, high = (torch.stack([f(chunk, 0) for chunk in chunks]) for f in (torch.amin, torch.amax))
    mantissa, exponent = torch.frexp(in_float64(torch.maximum(high.amax(0), -low.amin(0)).max()))
    half = exponent // 2

    def scaled(chunk: Tensor) -> Tensor:
        return torch.ldexp(torch.ldexp(in_float64(chunk), -half), half - exponent)

    # Powers of two change no digit, so a large common offset cancels before anything is rounded.
    first = scaled(codes[:1])
    mean = torch.stack([(scaled(chunk) - first).sum(0) for chunk in chunks]).sum(0) / len(codes)
    total = torch.zeros(len(mean), len(mean), dtype=mean.dtype, device=mean.device)
    for chunk in chunks:
        centred = scaled(chunk) - first - mean
        total += centred.T @ centred
    return total / (len(codes) - 1) / mantissa.square().clamp(min=0.25)


def total_correlation(covariance: Float[Tensor, "d d"]) -> float:
    """Return the total correlation of a Gaussian with this covariance, -1/2 log det R, in nats.

    R is the correlation matrix (Watanabe, 1960). For codes that are not Gaussian this is no bound. For
    rank-Gaussianised codes it is a lower bound: total correlation is invariant to maps of single dimensions,
    and among densities with N(0, 1) marginals and correlation R the Gaussian has the largest joint entropy.
    It is infinite for a singular R.
    """
    std = covariance.diagonal().sqrt()
    values = torch.linalg.eigvalsh(covariance / std / std[:, None])
    if float(values.min()) <= len(values) * torch.finfo(values.dtype).eps:
        return math.inf
    return max(0.0, float(-0.5 * values.log().sum()))


def expected_total_correlation(n: int, d: int) -> float:
    """Return the mean of `total_correlation` over samples of n independent Gaussian codes, in nats.

    1/2 sum_{i<d} [psi((n-1)/2) - psi((n-1-i)/2)], from the determinant of a Wishart matrix (Muirhead,
    1982, theorem 3.2.15); about d (d-1) / 4n. Infinite for n <= d.
    """
    if n <= d:
        return math.inf
    halves = (n - 1 - torch.arange(d, dtype=torch.float64)) / 2
    return float(0.5 * (torch.digamma(halves[:1]) - torch.digamma(halves)).sum())


def covariance_ratio(covariance: Float[Tensor, "d d"]) -> float:
    """Return the share of the squared covariances on the diagonal, sum_i C_ii^2 / sum_ij C_ij^2.

    The paper does not define its covariance ratio, so this definition is ours. The denominator runs over all
    i and j. The ratio is 1 for uncorrelated dimensions and 1/d for d copies of one dimension. Dimensions of
    large variance weigh most.
    """
    return float(covariance.diagonal().square().sum() / covariance.square().sum())


def spectral_rank(covariance: Float[Tensor, "d d"]) -> float:
    """Return the exponential of the entropy of the normalised eigenvalues; see `effective_rank`."""
    values = torch.linalg.eigvalsh(covariance).clamp(min=0)
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def normal_scores(codes: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return rank-Gaussianised codes: the normal quantile of (rank - 1/2) / n, ties at their mean rank."""
    scores = []
    for columns in in_float64(codes).split(max(1, _ENTRIES // len(codes)), dim=1):
        values = columns.T.contiguous()
        ordered = values.sort(1).values
        below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
        scores.append(torch.special.ndtri((below + up_to).double() / (2 * len(codes))).T)
    return torch.cat(scores, dim=1)


def tie_variance(codes: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Return the share of variance that ties take from the normal scores of every column; 0 without ties."""
    return _scores_of_ties(codes)[1].mean(0)


def rank_covariance(codes: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return the covariance of normal scores with ties broken at random, averaged over the random orders.

    Breaking ties adds noise that is independent of everything else. It makes the marginals N(0, 1), keeps the
    total correlation, and adds to the variances only. Without it, two equal bits would have correlation 1, so
    that the lower bound of their total correlation would be infinite.
    """
    scores, within = _scores_of_ties(codes)
    covariance = covariance_of(scores)
    covariance.diagonal().mul_(1 + within.mean(0) / scores.var(0, correction=0))
    return covariance


def _scores_of_ties(codes: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Return mean and variance of the normal score of every entry over random orders of its ties.

    Rows that share a value, from the normal quantile a to b, with share p of the rows, have the mean
    (phi(a) - phi(b)) / p and the variance 1 + (a phi(a) - b phi(b)) / p - mean^2 of N(0, 1) given a < y < b.
    At most two equal rows, which rounding to float32 makes, have their `normal_scores` and the variance 0.
    """
    n, means, variances = len(codes), [], []
    for columns in in_float64(codes).split(max(1, _ENTRIES // n), dim=1):
        values = columns.T.contiguous()
        ordered = values.sort(1).values
        below, up_to = (torch.searchsorted(ordered, values, right=right).double() for right in (False, True))
        a, b = torch.special.ndtri(below / n), torch.special.ndtri(up_to / n)
        share, tied = (up_to - below) / n, up_to - below > 2
        mean = (_density(a) - _density(b)) / share
        variance = 1 + (_edge(a) - _edge(b)) / share - mean.square()
        means.append(torch.where(tied, mean, torch.special.ndtri((below + up_to) / (2 * n))).T)
        variances.append(torch.where(tied, variance.clamp(min=0), 0.0).T)
    return torch.cat(means, 1), torch.cat(variances, 1)


def _density(x: Tensor) -> Tensor:
    """Return phi(x), the density of N(0, 1)."""
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def _edge(x: Tensor) -> Tensor:
    """Return x phi(x), which is 0 at infinity."""
    return torch.where(x.isfinite(), x * _density(x), 0.0)
