"""Interventional robustness score (Suter et al., 2019)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import sorted_rows
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["irs"]

_QUANTILE = 0.99
_STRIDE = 2.0
"""Distance between levels in a sort key; deviations are at most 1 in it."""


def irs(table: Table) -> Part:
    """Return how little every code deviates from its mean given its best factor.

    Entry (j, k) is 1 minus the mean over levels of factor k of the 99 % quantile of |z_j - E[z_j | level]|,
    relative to the largest |z_j - E z_j|. The score is the mean over codes of the largest entry, weighted by
    the largest deviation in the units of the code.
    """
    codes = table.train_codes
    largest = (codes - codes.mean(0)).abs().amax(0)
    scale = torch.where(largest > 0, largest, 1.0)
    bins = table.protocol.irs_bins
    columns = [_mean_quantile(codes / scale, factor, bins) for factor in table.train_factors]
    matrix = 1 - torch.stack(columns, 1)
    undefined = matrix.isnan().any(0)
    part = Part({"irs": math.nan}, matrices={"irs": matrix})
    part.note_left_out(("irs",), table.factors, undefined)
    if not bool(undefined.all()):
        weight = largest.sum()
        best = matrix[:, ~undefined].amax(1)
        part.scores["irs"] = float((best * largest).sum() / weight) if weight > 0 else 0.0
    return part


def _mean_quantile(z: Float[Tensor, "n d"], factor: Factor, bins: int | None) -> Float[Tensor, "d"]:
    """Return the mean over levels of the quantile of deviations from the mean of a level.

    Levels of one row, whose deviation is 0, are left out.
    """
    present = factor.levels >= 0
    levels, z = factor.levels[present], z[present]
    if bins is not None:
        levels = _merged(levels, factor.num_levels, bins)
    count = torch.bincount(levels, minlength=factor.num_levels)
    sums = torch.zeros(len(count), z.shape[1], dtype=z.dtype, device=z.device).index_add_(0, levels, z)
    mean = sums / count.clamp(min=1)[:, None]
    # Deviations are at most 2 in units of the largest one. The key sorts by level, then by deviation.
    keys = (z - mean[levels]).abs() / 2 + _STRIDE * levels[:, None]
    ordered = sorted_rows(keys.T.contiguous())
    used = (count > 1).nonzero()[:, 0]
    # The percentile of n values is at position 0.99 (n - 1), between two of them.
    position = _QUANTILE * (count[used] - 1).to(z)
    below = (count.cumsum(0) - count)[used] + position.long()
    above = torch.minimum(below + 1, (count.cumsum(0) - 1)[used])
    quantile = torch.lerp(ordered[:, below], ordered[:, above], position - position.floor())
    return 2 * (quantile - _STRIDE * used).mean(1)


def _merged(levels: Int[Tensor, "n"], count: int, bins: int) -> Int[Tensor, "n"]:
    """Return the equal-width bin of every level."""
    return (levels * bins // max(1, count - 1)).clamp(max=bins - 1)
