"""Ranks of every code dimension among training codes, in bounded memory."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Ranks"]

_KNOTS = 4096


class Ranks:
    """The empirical distribution function of every column, F(z) = (mid-rank of z) / n.

    Held-out values fall between those of training by linear interpolation, equal values share their
    middle rank, and values beyond the training range get its ends, so F lies in [1/2n, 1 - 1/2n]. Above
    4,096 rows as many quantiles stand for the rows.

    Args:
        train: (p, n, d) codes that give the ranks.
    """

    def __init__(self, train: Float[Tensor, "p n d"]) -> None:
        self.n = train.shape[1]
        kept = min(self.n, _KNOTS)
        rows = torch.linspace(0, self.n - 1, kept, dtype=torch.float64).round().long().to(train.device)
        columns = [column.sort(dim=1).values[:, rows] for column in train.unbind(2)]
        self.knots = torch.stack(columns, 1).contiguous()
        self.levels = ((rows + 0.5) / self.n).to(train)

    def uniform(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return F of every entry, about uniform for codes like those of training."""
        values = z.mT.contiguous()
        right = torch.searchsorted(self.knots, values, right=True)
        left = torch.searchsorted(self.knots, values)
        last = self.knots.shape[2] - 1
        low, high = (right - 1).clamp(0, last), right.clamp(0, last)
        below, above = self.knots.gather(2, low), self.knots.gather(2, high)
        share = ((values - below) / (above - below)).nan_to_num(0, 0, 0).clamp(0, 1)
        between = self.levels[low] + share * (self.levels[high] - self.levels[low])
        tied = (self.levels[left.clamp(0, last)] + self.levels[low]) / 2
        return torch.where(right > left, tied, between).mT

    def gaussian(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return the standard normal quantile of F."""
        return math.sqrt(2) * torch.erfinv(2 * self.uniform(z) - 1)
