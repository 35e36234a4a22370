"""Statistics of every pair of code dimensions: mutual information and distance correlation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.metrics.covariance import some_rows
from mmdprior.precision import in_float64

__all__ = ["PairStatistic", "distance_correlation", "mutual_information"]

_ENTRIES = 2**22
_BINS = (4, 32)
_ROWS_PER_CELL = 10
_LISTED = 10
_CHANCE = 0.05


@dataclass(frozen=True)
class PairStatistic:
    """One number a pair of dimensions.

    Attributes:
        matrix: symmetric; NaN on the diagonal and for dimensions left out.
        n: rows it was computed on.
        level: the largest pair of independent codes stays below it in about .95 of samples (Bonferroni).
        bins: a dimension, for mutual information.
    """

    matrix: Float[np.ndarray, "d d"]
    n: int
    level: float
    bins: int | None = None

    @property
    def mean(self) -> float:
        """Mean over pairs; NaN without any."""
        values = self._upper()[2]
        return float(values.mean()) if len(values) else math.nan

    @property
    def max(self) -> float:
        """Largest over pairs; NaN without any."""
        values = self._upper()[2]
        return float(values.max()) if len(values) else math.nan

    def strongest(self, count: int = _LISTED) -> list[tuple[int, int, float]]:
        """Return the pairs with the largest values as (i, j, value), the largest first."""
        i, j, values = self._upper()
        order = np.argsort(-values, kind="stable")[:count]
        return [(int(i[k]), int(j[k]), float(values[k])) for k in order]

    def within(self, kept: Bool[np.ndarray, "D"]) -> "PairStatistic":
        """Return the same numbers numbered as before some dimensions were left out."""
        matrix = np.full((len(kept), len(kept)), np.nan)
        matrix[np.ix_(kept, kept)] = self.matrix
        return PairStatistic(matrix, self.n, self.level, self.bins)

    def to_dict(self) -> dict[str, object]:
        """Return the mean, the chance level and the ten strongest pairs, ready for JSON."""
        plain: dict[str, object] = {"n": self.n} if self.bins is None else {"n": self.n, "bins": self.bins}
        if self.strongest(1):
            plain |= {"mean": self.mean, "max": self.max, "chance": self.level}
        return {**plain, "strongest": [list(pair) for pair in self.strongest()]}

    def __str__(self) -> str:
        """Mean, strongest pair, chance, and what it was computed on."""
        if not self.strongest(1):
            return "no pair of active dimensions"
        i, j, value = self.strongest(1)[0]
        bins = "" if self.bins is None else f", {self.bins} bins"
        return (
            f"mean {self.mean:.4f}, max {value:.4f} ({i} with {j}; chance up to {self.level:.4f}; "
            f"{self.n} rows{bins})"
        )

    def _upper(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        i, j = np.triu_indices(len(self.matrix), 1)
        values = self.matrix[i, j]
        there = ~np.isnan(values)
        return i[there], j[there], values[there]


def mutual_information(
    codes: Float[Tensor, "n d"], *, bins: int | None = None, max_rows: int = 20_000, seed: int = 0
) -> PairStatistic:
    """Mutual information of every pair, in nats, from equal-frequency bins with Miller and Madow's term.

    I = H_i + H_j - H_ij - (K_ij - K_i - K_j + 1) / 2n with the entropies of the binned codes and the
    counts K of cells that are not empty (Miller, 1955), so independent codes are near 0, on either side.
    What bins cannot resolve is missing: about .01 nats of .22 at correlation .6, .02 to .06 of .83 at .9,
    and no more than log(bins) is ever found. Chance: 2n I + (bins - 1)^2 is chi-square with (bins - 1)^2
    degrees of freedom.

    Args:
        codes: dimensions that vary.
        bins: a dimension; by default as many as leave 10 rows a cell, between 4 and 32.
        max_rows: take so many random rows of more.
        seed: of these rows.
    """
    z = some_rows(codes, max_rows, seed, "mutual information")
    n, d = z.shape
    if bins is None:
        bins = min(_BINS[1], max(_BINS[0], math.isqrt(n // _ROWS_PER_CELL)))
    cells = _quantile_bins(z, bins)
    matrix = torch.full((d, d), torch.nan, dtype=torch.float64)
    at_once = max(1, _ENTRIES // max(n, bins * bins))
    for i in range(d - 1):
        for others in range(i + 1, d, at_once):
            values = _information(cells[i], cells[others : others + at_once], bins).cpu()
            matrix[i, others : others + at_once] = values
            matrix[others : others + at_once, i] = values
    freedom = (bins - 1) ** 2
    level = (_chi_square_quantile(freedom, _CHANCE / max(1, d * (d - 1) // 2)) - freedom) / (2 * n)
    return PairStatistic(matrix.numpy(), n, level, bins)


def distance_correlation(
    codes: Float[Tensor, "n d"], *, max_rows: int = 1000, seed: int = 0
) -> PairStatistic:
    """Squared distance correlation of every pair, bias-corrected: 0 in the mean for independent ones.

    R = (A . B) / sqrt((A . A)(B . B)) with U-centred distances A_ab = |x_a - x_b| - (row mean) - (column
    mean) + (mean), the means over n - 2 and (n - 1)(n - 2) (Szekely & Rizzo, 2014, equation 2.8); it sees
    every dependence of a pair and may be negative. Chance: n R + 1 is at most chi-square with one degree
    of freedom in its tail (Shen, Panda & Vogelstein, 2022).

    Args:
        codes: dimensions that vary.
        max_rows: the cost is quadratic in the rows, so take so many random ones.
        seed: of these rows.
    """
    z = in_float64(some_rows(codes, max_rows, seed, "distance correlation"))
    n, d = z.shape
    z = (z - z.mean(0)) / z.std(0)
    sums = _distance_sums(z)
    gram = torch.zeros(d, d, dtype=z.dtype, device=z.device)
    for rows in torch.arange(n, device=z.device).split(max(1, _ENTRIES // (n * d))):
        centred = (z[rows, None] - z).abs() - sums[rows, None] / (n - 2) - sums / (n - 2)
        centred += sums.sum(0) / ((n - 1) * (n - 2))
        centred[torch.arange(len(rows)), rows] = 0
        gram += centred.flatten(0, 1).T @ centred.flatten(0, 1)
    norm = gram.diagonal().sqrt()
    matrix = (gram / norm / norm[:, None]).fill_diagonal_(torch.nan)
    level = (_chi_square_quantile(1, _CHANCE / max(1, d * (d - 1) // 2)) - 1) / n
    return PairStatistic(matrix.cpu().numpy(), n, level)


def _quantile_bins(z: Tensor, bins: int) -> Int[Tensor, "d n"]:
    """Return the bin of every code; equal codes share one, so ties leave bins empty."""
    columns = z.T.contiguous()
    ordered = columns.sort(1).values
    starts = torch.arange(1, bins, device=z.device) * z.shape[0] // bins
    return torch.searchsorted(ordered[:, starts].contiguous(), columns, right=True)


def _information(one: Int[Tensor, "n"], others: Int[Tensor, "k n"], bins: int) -> Float[Tensor, "k"]:
    n, cells = len(one), bins * bins
    first = torch.arange(len(others), device=one.device)[:, None] * cells
    flat = (first + one * bins + others).flatten()
    counts = torch.bincount(flat, minlength=len(others) * cells).view(-1, bins, bins)
    tables = [counts.flatten(1), counts.sum(2), counts.sum(1)]
    shares = [in_float64(table) / n for table in tables]
    joint, left, right = (-torch.special.xlogy(share, share).sum(1) for share in shares)
    full, rows, columns = ((table > 0).sum(1) for table in tables)
    return left + right - joint - in_float64(full - rows - columns + 1) / (2 * n)


def _distance_sums(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return sum_b |z_a - z_b| for every a, from one sort: (2k - n) z_k + total - 2 (sum below k)."""
    n = len(z)
    ordered, order = z.sort(0)
    rank = torch.arange(n, device=z.device, dtype=z.dtype)[:, None]
    below = ordered.cumsum(0) - ordered
    sums = (2 * rank - n) * ordered + ordered.sum(0) - 2 * below
    return torch.empty_like(z).scatter_(0, order, sums)


def _chi_square_quantile(freedom: int, tail: float) -> float:
    """Value exceeded with probability ``tail``; in_float64 for one degree, else Wilson & Hilferty (1931)."""
    if freedom == 1:
        return float(torch.special.ndtri(torch.tensor(1 - tail / 2, dtype=torch.float64))) ** 2
    quantile = float(torch.special.ndtri(torch.tensor(1 - tail, dtype=torch.float64)))
    part = 2 / (9 * freedom)
    return freedom * (1 - part + quantile * math.sqrt(part)) ** 3
