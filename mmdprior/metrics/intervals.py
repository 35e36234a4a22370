"""Intervals of the corrected mean R2: from resampled test rows, and from refitted shuffled copies."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.protocol import Split

__all__ = [
    "COPIES",
    "INFORMATIVE_ROWS",
    "MIN_INFORMATIVE_ROWS",
    "Jackknife",
    "bootstrap_counts",
    "bootstrap_interval",
    "correct_r2",
    "few_rows_interval",
    "jackknife_counts",
    "row_counts",
    "too_rare",
]

COPIES = 39
"""Fewest shuffled copies whose smallest and largest error bound 95 % of errors: 2 of 40 ranks."""
INFORMATIVE_ROWS = 20
"""Informative test rows from which the bootstrap is used."""
MIN_INFORMATIVE_ROWS = 5
"""Fewest informative test rows of an interval without `COPIES` shuffled copies."""
_ENTRIES = 1 << 24
"""Entries of a block of counts: 128 MiB in float64."""
_GROUPS = 200
"""Groups of test rows that the jackknife leaves out."""
_LEVEL = 0.95
_MIN_RARE_ROWS = 4
"""Fewest test rows of an interval that differ from the most frequent value of their column."""
_MAX_SPREAD = 3.0
"""Largest logarithm of the upper error ratio; an error 20 times as large says that nothing is known."""


def correct_r2(r2: Float[Tensor, "*b d"], chance: Float[Tensor, "d"]) -> Float[Tensor, "*b d"]:
    """Return R2 corrected for estimation error, 1 - (1 - R2) / (1 - chance).

    Fitting d - 1 coefficients on n rows multiplies the held-out error of a linear predictor by about 1 + d/n,
    with or without dependence (exactly so for Gaussian codes). In column-shuffled copies nothing can be
    predicted, so their expected R2, ``chance``, is estimation error only: 1 - chance is that factor.
    """
    return 1 - (1 - r2) / (1 - chance)


def bootstrap_counts(k: int, draws: int, generator: torch.Generator) -> Iterator[Float[Tensor, "b k"]]:
    """Yield how often each of k rows is drawn with replacement, in blocks of draws."""
    size = max(1, _ENTRIES // k)
    for first in range(0, draws, size):
        block = min(size, draws - first)
        rows = torch.randint(k, (block, k), generator=generator)
        yield torch.zeros(block, k, dtype=torch.float64).scatter_add_(
            1, rows, torch.ones(1, dtype=torch.float64).expand(block, k)
        )


def jackknife_counts(k: int, most: int = _GROUPS) -> Iterator[Float[Tensor, "b k"]]:
    """Yield weights of k rows that leave out each of some groups of rows; every draw sums to k.

    Args:
        k: number of rows.
        most: largest number of groups, at most 200.
    """
    groups = min(k, most, _GROUPS)
    group = torch.arange(k) * groups // k
    for block in torch.arange(groups).split(max(1, _ENTRIES // k)):
        kept = (group != block[:, None]).double()
        yield kept * (k / kept.sum(1, keepdim=True))


def row_counts(
    counts: Iterable[Float[Tensor, "b units"]], unit: Int[Tensor, "k"]
) -> Iterator[Float[Tensor, "b k"]]:
    """Yield counts of groups as counts of their k rows; every draw sums to k.

    Args:
        counts: how often a draw contains each group.
        unit: group of every row.
    """
    for block in counts:
        if block.shape[1] == len(unit):  # every row is a group
            yield block
        else:
            rows = block[:, unit]
            yield rows * (len(unit) / rows.sum(1, keepdim=True))


def bootstrap_interval(
    draws: Float[Tensor, "b"], center: float, variance: float = 0.0, level: float = _LEVEL
) -> tuple[float, float]:
    """Return bootstrap percentiles around ``center``, widened for variance that the draws lack.

    The draws are shifted to the mean ``center``, because a statistic of resampled rows can be biased: the
    entropy of resampled bins is too small, for example.

    Args:
        draws: mean R2 of every bootstrap draw.
        center: mean R2 of the test rows.
        variance: variance of the mean R2 that the bootstrap leaves out. The percentiles are scaled by
            sqrt(1 + variance / var(draws)).
        level: coverage of the interval.
    """
    tail = (1 - level) / 2
    levels = torch.tensor([tail, 1 - tail], dtype=draws.dtype)
    drawn_variance = float(draws.var())
    widening = math.sqrt(1 + variance / drawn_variance) if drawn_variance > 0 else 1.0
    low, high = (torch.quantile(draws - draws.mean(), levels) * widening).tolist()
    return center + low, center + high


class Jackknife(NamedTuple):
    """Standard deviation of the corrected mean R2 over the test rows, by leaving out groups of rows.

    Attributes:
        std: jackknife estimate of the standard deviation.
        freedom: degrees of freedom, the number of groups minus the number of folds.
        rows: number of informative test rows, (sum g^2)^2 / sum g^4, where g is the change from leaving out
            one group. It is the number of groups if all change the result equally, and 1 if one row
            decides it.
    """

    std: float
    freedom: int
    rows: float

    @staticmethod
    def of(left_out: Float[Tensor, "folds groups"]) -> "Jackknife":
        """Return the jackknife of a mean over folds.

        Args:
            left_out: result of every fold without each of its groups.
        """
        folds, groups = left_out.shape
        changes = (left_out - left_out.mean(1, keepdim=True)) / folds
        largest = float(changes.abs().max())
        if largest == 0:
            return Jackknife(0.0, folds * (groups - 1), 0.0)
        squares = (changes / largest).square()  # relative, so that the squares of huge changes are finite
        total = float(squares.sum())
        std = largest * math.sqrt(total * (groups - 1) / groups)
        return Jackknife(std, folds * (groups - 1), total**2 / float(squares.square().sum()))


def few_rows_interval(ratio: float, copies: Float[Tensor, "c"], jackknife: Jackknife) -> tuple[float, float]:
    """Return an interval of 1 - ratio that holds with few informative test rows.

    ``ratio`` is the mean over dimensions of (1 - R2) / (1 - chance): the held-out error relative to that of
    independent codes. The ratios of column-shuffled copies, refitted with the same split, are exchangeable
    with that of independent codes. Their range therefore contains it with probability 0.95, for any number
    of rows, for any values. Dividing by both ends gives an interval that covers 0 exactly as often.

    Dependence adds variance over the test rows, which the jackknife measures. It gives a second interval,
    on a log scale with Student quantiles. The result is the hull of both.

    Args:
        ratio: error ratio of the codes.
        copies: error ratios of at least `COPIES` shuffled copies.
        jackknife: standard deviation of ``ratio`` over the test rows.
    """
    spread = student_quantile(jackknife.freedom) * jackknife.std / ratio if ratio > 0 else 0.0
    ratios = [ratio * math.exp(-spread), ratio * math.exp(min(spread, _MAX_SPREAD))]
    ordered = copies.sort().values
    rank = int((1 - _LEVEL) / 2 * (len(copies) + 1))  # from 1
    ratios += (ratio / ordered[[rank - 1, -rank]]).tolist()
    return 1 - max(ratios), 1 - min(ratios)


def student_quantile(freedom: int, level: float = _LEVEL) -> float:
    """Return the two-sided quantile of Student's t (Abramowitz & Stegun, 1964, 26.7.5).

    The relative error is below 0.002 from five degrees of freedom on.
    """
    z = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def too_rare(z: Float[Tensor, "n d"], columns: Sequence[int], splits: Sequence[Split]) -> str:
    """Return why no interval holds for columns that hardly vary over the test rows; empty if it can.

    Args:
        z: active columns of the codes.
        columns: their numbers, for the text.
        splits: split of every fold.
    """
    rare = torch.stack([_other_rows(z[split.test.to(z.device)]) for split in splits]).amin(0)
    column = int(rare.argmin())
    if int(rare[column]) >= _MIN_RARE_ROWS:
        return ""
    tested = len(splits[0].test) / len(z)
    share = max(1, int(_other_rows(z)[column])) / len(z)
    rows = math.ceil(2 * _MIN_RARE_ROWS / (share * tested))
    return (
        f"no interval: {int(rare[column])} of {len(splits[0].test)} test rows differ from the most frequent "
        f"value of column {columns[column]}, fewer than {_MIN_RARE_ROWS}; give about {rows} rows, or leave "
        "the column out"
    )


def _other_rows(z: Float[Tensor, "k d"]) -> Int[Tensor, "d"]:
    """Return how many rows differ from the median, which is the most frequent value where one prevails."""
    return (z != z.median(0).values).sum(0)
