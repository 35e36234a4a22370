"""Warnings about rows that are not independent: duplicates, near-duplicates and autocorrelation."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.metrics.covariance import normal_scores
from mmdprior.metrics.grouping import Blocks, Grouping, Groups, Split
from mmdprior.precision import in_float64

__all__ = ["grouping_warnings", "row_warnings"]

_ROWS = 2000
"""Rows that decide which columns are continuous, evenly spaced."""
_CONTINUOUS = 0.95
"""Share of values in distinct rows that differ, from which a column counts as continuous."""
_MIN_DISTINCT = 8
"""Fewest values of a continuous column."""
_MIN_SHARE = 0.05
"""Share of test rows with a copy among the training rows from which duplicates are reported."""
_MIN_PATTERNS = 50
"""Distinct rows of discrete codes from which equal numbers of copies are no coincidence."""
_EQUAL_COPIES = 0.6
"""Share of distinct rows with the same number of copies that independent discrete rows do not reach."""
_QUERIES, _MIN_QUERIES = 256, 16
"""Test rows whose neighbours are searched."""
_PRODUCTS = 1 << 31
"""Products of a search, to bound its time: a fraction of a second."""
_MAX_OCTAVES = 8
"""Octaves of neighbours, so that groups of up to 64 rows are found."""
_PEAK = 2.0
"""Ratio of an octave of neighbours to later ones beyond which it is a gap, for many queries."""
_RISE = 1.3
"""The same to earlier octaves."""
_MIN_GROUPS = 50
"""Clusters from which they count as groups of near-duplicates; fewer may be components of a mixture."""
_FLOOR = 1e-3
"""Smallest distance that differs from zero, relative to the largest one."""
_MIN_POSITIONS, _MAX_POSITIONS = 1000, 10_000
"""Rows whose successors are compared, evenly spaced."""
_ENTRIES = 1 << 17
"""Codes compared with their successors, to bound the time."""
_MIN_ALIKE = 0.2
"""Similarity of consecutive rows from which it is reported, for many rows; an AR(1) of 0.3 reaches 0.23."""
_GROUPS_PER_COLUMN = 10
_MIN_TEST_GROUPS, _MIN_TEST_BLOCKS = 5, 3
"""Fewest groups or blocks to test on for inference: five groups have 120 permutations."""
_MIX = 1 << 31
_REMEDY = "give groups with one label per sample if rows repeat samples (views, frames, patches, patients)"


def grouping_warnings(grouping: Grouping, splits: Sequence[Split], d: int) -> tuple[tuple[str, ...], bool]:
    """Return one sentence per property of groups that makes a score doubtful, and whether inference holds.

    Args:
        grouping: groups of dependent rows; for independent rows there are no warnings.
        splits: split of every fold.
        d: number of active dimensions.

    Returns:
        The sentences, and whether p-values and intervals hold.
    """
    if grouping.count == grouping.n:
        return (), True
    texts, inferential = [], True
    kind = "blocks" if isinstance(grouping, Blocks) else "groups"
    if grouping.count < _GROUPS_PER_COLUMN * d:
        texts.append(
            f"{grouping.count} {kind} for {d} columns: fewer than {_GROUPS_PER_COLUMN} {kind} per column, so "
            "scores are noisy and too low"
        )
    tested = min(grouping.layout(split.test).count for split in splits)
    needed = _MIN_TEST_BLOCKS if isinstance(grouping, Blocks) else _MIN_TEST_GROUPS
    if tested < needed:
        inferential = False
        texts.append(
            f"{tested} {kind} to test on: fewer than {needed}, so there is no p-value and no interval; give "
            f"more {kind}"
        )
    if isinstance(grouping, Blocks) and grouping.persistent:
        inferential = False
        texts.append(
            f"autocorrelation: at lag {grouping.gap}, rows still correlate by {grouping.remaining:.2f}, so "
            "there is no p-value and no interval; give more rows or a larger block_length"
        )
    return tuple(texts), inferential


def row_warnings(z: Float[Tensor, "n d"], split: Split, grouping: Grouping) -> tuple[str, ...]:
    """Return one sentence per sign that rows are not independent; each names the remedy.

    Args:
        z: active columns of the codes.
        split: split of the rows.
        grouping: groups that are known: rows of one group are not compared.
    """
    z = z.cpu() if z.device.type == "mps" else z  # which has no float64
    keys = _row_keys(z)
    continuous = _continuous(z, keys)
    texts = []
    if (share := _duplicate_share(z, keys, continuous, split)) > 0:
        texts.append(f"duplicate rows: {share:.0%} of the test rows are also training rows; {_REMEDY}")
    elif _has_near_duplicates(z[:, continuous], split):
        texts.append(
            "near-duplicate rows: the nearest training rows of test rows are much nearer than independent "
            f"rows would be; {_REMEDY}"
        )
    labels = grouping.labels if isinstance(grouping, Groups) and grouping.count < grouping.n else None
    if not isinstance(grouping, Blocks) and _consecutive_rows_are_alike(z, labels):
        texts.append(
            "autocorrelation: consecutive rows are alike; give groups='blocks' if rows are in time order, or "
            "one label per sample if they are grouped; ignore this if the rows are independent and sorted"
        )
    return tuple(texts)


def _duplicate_share(z: Tensor, keys: Tensor, continuous: Tensor, split: Split) -> float:
    """Return the share of test rows that equal a training row, and 0 where equal rows are natural.

    Rows with a continuous column never repeat by chance. Rows of discrete codes do: as often as their
    marginals imply, or more often if columns depend on one another. For these, only samples that occur
    equally often are a sign of repetition, because counts of independent rows vary at least as a Poisson
    number does.
    """
    test, train = keys[split.test.to(z.device)], keys[split.train.to(z.device)]
    repeats = torch.isin(test, train)
    share = float(repeats.double().mean())
    if share < _MIN_SHARE or int(repeats.sum()) < 2:
        return 0.0
    if bool(continuous.any()):
        return share
    distinct, first, counts = _distinct(keys)
    repeated = counts.mode().values
    equal = float((counts == repeated).double().mean())
    if len(distinct) < _MIN_PATTERNS or repeated < 2 or equal < _EQUAL_COPIES:
        return 0.0
    expected = _expected_share(z[first], z[split.test.to(z.device)], len(split.train))
    return share if share > expected + 0.1 else 0.0


def _row_keys(z: Tensor) -> Int[Tensor, "n"]:
    """Return a 64-bit hash of every row."""
    generator = torch.Generator().manual_seed(0)
    width = z.shape[1] * z.element_size() // 4
    factors = torch.randint(-_MIX, _MIX, (2, width), generator=generator).to(z.device)
    factors = factors[0] * _MIX * 2 + factors[1] * 2 + 1  # odd 64-bit numbers
    keys = []
    for rows in z.split(max(1, _PRODUCTS // 64 // z.shape[1])):
        bits = (rows + 0.0).contiguous().view(torch.int32).long()  # -0.0 + 0.0 is 0.0
        mixed = bits * factors
        keys.append((mixed ^ (mixed >> 29)).mul(factors.roll(1)).sum(1))
    return torch.cat(keys)


def _distinct(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct keys, the first row of each and its number of rows."""
    distinct, inverse, counts = keys.unique(return_inverse=True, return_counts=True)
    order = inverse.argsort(stable=True)
    return distinct, order[counts.cumsum(0) - counts], counts


def _continuous(z: Tensor, keys: Tensor) -> Bool[Tensor, "d"]:
    """Return which columns have as many values as there are distinct rows, and not only integers.

    With a handful of distinct rows this cannot be known, and no column counts.
    """
    step = max(1, len(z) // _ROWS)
    rows = z[::step][_distinct(keys[::step])[1]]
    ordered = rows.sort(0).values
    values = 1 + (ordered[1:] != ordered[:-1]).sum(0)
    enough = max(_CONTINUOUS * len(rows), _MIN_DISTINCT)
    return (values >= enough) & (rows != rows.round()).any(0)


def _expected_share(distinct: Tensor, test: Tensor, n: int) -> float:
    """Return the expected share of test rows among n training rows with independent columns."""
    rows = test[:_ROWS]
    logs = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for column, values in zip(distinct.T, rows.T, strict=True):
        ordered = column.sort().values
        counts = torch.searchsorted(ordered, values.contiguous(), right=True)
        counts = counts - torch.searchsorted(ordered, values.contiguous())
        logs += (counts.double() / len(column)).log()
    # 1 - (1 - p)^n, with p the product of the marginal frequencies of the row.
    return float((-torch.expm1(n * torch.log1p(-logs.exp().clamp(max=1 - 1e-12)))).mean())


def _has_near_duplicates(x: Float[Tensor, "n c"], split: Split) -> bool:
    """Return whether test rows have a few training rows much nearer than the next ones.

    Let r_k be the distance of a test row to its k-th nearest training row. For independent rows
    k E log(r_{k+1} / r_k) is 1 / D at every k, where D is the dimension of the codes at that scale (as in
    TwoNN, Facco et al., 2017), and D changes slowly. Summed over k, every octave from k to 2 k has about the
    same value. With m near-duplicates per row, the octave that contains m has a gap.

    Args:
        x: continuous columns of the codes; in others, neighbours have equal values by chance.
        split: split of the rows.
    """
    train = split.train
    octaves = int(math.log2(max(1, len(train) // 4)))
    if octaves < 3 or x.shape[1] == 0:
        return False
    queries = min(len(split.test), max(_MIN_QUERIES, min(_QUERIES, _PRODUCTS // (len(train) * x.shape[1]))))
    test = split.test[torch.linspace(0, len(split.test) - 1, queries).long()]
    rates = _octave_rates(x[test.to(x.device)], x[train.to(x.device)], min(octaves, _MAX_OCTAVES))
    peak = _PEAK * (1 + 3 / math.sqrt(queries))
    for j in range(len(rates) - 2):
        if 2 ** (j + 1) > max(2, len(train) // _MIN_GROUPS):
            break
        rises = j < 2 or rates[j] > _RISE * rates[j - 2]
        if rises and rates[j] > peak * (rates[j + 2] + 0.03):
            return True
    return False


def _octave_rates(test: Tensor, train: Tensor, octaves: int) -> list[float]:
    """Return E log(r_2k / r_k) in units of its value for D = 1, for k = 1, 2, 4, ..."""
    x, y = in_float64(test), in_float64(train)
    mean, scale = y.mean(0), y.std(0)
    x, y = ((x - mean) / scale).float(), ((y - mean) / scale).float()
    # Search by products, |y|^2 - 2 xy; then take differences, because products round near-duplicates away.
    candidates = torch.addmm(y.square().sum(1), x, y.T, alpha=-2).topk(2**octaves, largest=False).indices
    nearest = torch.stack([(row - y[rows]).norm(dim=1) for row, rows in zip(x, candidates, strict=True)])
    k = 2 ** torch.arange(octaves + 1)
    r = in_float64(nearest.sort().values[:, (k - 1).to(nearest.device)])
    r = torch.maximum(r, _FLOOR * r[:, -1:]).clamp(min=math.ulp(0.0))
    # E log r_k = digamma(k) / D + constant for points of locally uniform density.
    unit = torch.digamma(k.double()).diff().to(r)
    return ((r[:, 1:] / r[:, :-1]).log().mean(0) / unit).tolist()


def _consecutive_rows_are_alike(z: Tensor, labels: Tensor | None) -> bool:
    """Return whether rows t and t + 1 are more alike than rows t and t + k, in most columns.

    The similarity of a column is (g_k - g_1) / (g_k + v / 4), with the semivariances g of its normal scores
    at a lag and their variance v. Lag-1 autocorrelation alone would report independent rows that are sorted
    by class: there g_1 and g_k differ little, because k is a fiftieth of the rows. Sorting by some columns
    leaves others in random order, so three quarters of the columns must be alike.
    """
    n = len(z)
    lag = min(max(n // 50, 4), 200)
    positions = min(max(_ENTRIES // z.shape[1], _MIN_POSITIONS), _MAX_POSITIONS)
    first = torch.arange(0, n - lag, max(1, (n - lag) // positions))
    if labels is not None:
        first = first[(labels[first] != labels[first + 1]) & (labels[first] != labels[first + lag])]
    if len(first) < 2:
        return False
    rows = torch.cat([first, first + 1, first + lag]).to(z.device)
    now, following, later = normal_scores(z[rows]).chunk(3)
    variance = torch.cat([now, following, later]).var(0)
    near, far = ((now - other).square().mean(0) / 2 for other in (following, later))
    alike = torch.where(variance > 0, (far - near) / (far + variance / 4).clamp(min=math.ulp(0.0)), 0.0)
    return float(alike.sort().values[len(alike) // 4]) > max(_MIN_ALIKE, 3.5 / math.sqrt(len(first)))
