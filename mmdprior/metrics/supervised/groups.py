"""Samples grouped by the level of a factor, and sorting that is fast on a CPU."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor

__all__ = ["Groups", "sorted_rows"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Samples sorted by the level of one factor, without levels that occur only once.

    Attributes:
        z: (m, d) standardised codes of the samples.
        first: (m,) position of the first sample of the same level.
        size: (m,) number of samples of the same level.
    """

    z: Float[Tensor, "m d"]
    first: Int[Tensor, "m"]
    size: Int[Tensor, "m"]

    @classmethod
    def of(cls, z: Float[Tensor, "n d"], factor: Factor) -> "Groups":
        """Return the groups of a factor."""
        counts = torch.bincount(factor.levels[factor.levels >= 0], minlength=factor.num_levels)
        order = _sorted_order(factor.levels)
        levels = factor.levels[order]
        kept = (levels >= 0) & (counts[levels] > 1)
        counts = torch.where(counts > 1, counts, 0)
        levels, order = levels[kept], order[kept]
        return cls(z.index_select(0, order), (counts.cumsum(0) - counts)[levels], counts[levels])


def sorted_rows(x: Float[Tensor, "d n"]) -> Float[Tensor, "d n"]:
    """Return every row in ascending order. On a CPU, NumPy sorts about eight times as fast as torch."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.numpy(), axis=-1))
    return x.sort(-1).values


def _sorted_order(levels: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Return the order that sorts integers. NumPy sorts 16-bit integers by radix, several times as fast."""
    if levels.device.type == "cpu" and len(levels) and int(levels.max()) < torch.iinfo(torch.int16).max:
        return torch.from_numpy(np.argsort(levels.numpy().astype(np.int16), kind="stable"))
    return levels.argsort(stable=True)
