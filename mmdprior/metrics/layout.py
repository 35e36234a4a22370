"""Groups within one part of a split: rearrangements and permutations that keep groups whole."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["BlockLayout", "GroupLayout", "Layout"]

_MIN_STRATUM = 5
"""Groups from which a stratum is closed before a size that is not similar."""
_LARGE_STRATUM = 20
"""Groups from which a stratum is closed before any larger size."""
_SIMILAR = 1.25
"""Largest ratio of two sizes that count as similar."""


class Layout(ABC):
    """Groups of the k rows of one part of a split. Positions count these rows from 0.

    Attributes:
        unit: (k,) number of the group of every row, from 0.
        count: number of groups.
        ordered: whether the rows are in time order; permutations are then shifts.
    """

    unit: Int[Tensor, "k"]
    count: int
    ordered: bool = False

    @abstractmethod
    def rearrangements(self, columns: int, generator: torch.Generator) -> Iterator[Int[Tensor, "k"]]:
        """Yield a rearrangement of the positions for every column.

        If the columns are independent of one another, codes whose columns are rearranged one by one are
        distributed as the codes are.
        """

    @abstractmethod
    def strata(self, generator: torch.Generator) -> list[Int[Tensor, "g m"]]:
        """Return sets of at least two groups that can be exchanged: the positions of g groups of m rows.

        If a column is independent of the others, permuting its groups within a stratum leaves the
        distribution of the codes unchanged.
        """


class GroupLayout(Layout):
    """Groups whose rows need not be neighbours.

    Groups of equal size are exchanged whole, which is exact. A stratum may also join groups of similar size
    if few have the same size. A longer group then takes part with a random window of its rows. This is exact
    if a window of a longer group is distributed as a shorter group, as for a random number of rows per group.

    Args:
        unit: (k,) number of the group of every row: 0, 1, ..., each of which occurs.
    """

    def __init__(self, unit: Int[Tensor, "k"]) -> None:
        self.unit = unit
        self.sizes = torch.bincount(unit)
        self.count = len(self.sizes)
        self.by_group = unit.argsort(stable=True)
        self.starts = self.sizes.cumsum(0) - self.sizes
        # Group of every row in the order of by_group, and its number within the group.
        self.place = unit[self.by_group]
        self.within = torch.arange(len(unit)) - self.starts[self.place]
        self.similar = _similar_sizes(self.sizes)
        single = [stratum for stratum in self.similar if len(stratum) == 1]
        self.single = torch.cat(single) if single else unit[:0]
        self.equal = len(self.single) == 0 and all(
            bool((self.sizes[stratum] == self.sizes[stratum[0]]).all()) for stratum in self.similar
        )

    def rearrangements(self, columns: int, generator: torch.Generator) -> Iterator[Int[Tensor, "k"]]:
        """Yield permutations of the groups within strata.

        A group that takes the place of a larger one is repeated. A group without a partner of similar size
        keeps its place, and its rows are shifted in a circle.
        """
        single_rows = self.count == len(self.unit) and bool((self.by_group == self.unit).all())
        for _ in range(columns):
            if single_rows:
                yield torch.randperm(self.count, generator=generator)
                continue
            origin = torch.arange(self.count)
            for stratum in self.similar:
                origin[stratum] = stratum[torch.randperm(len(stratum), generator=generator)]
            yield self._moved(origin, generator)

    def _moved(self, origin: Tensor, generator: torch.Generator) -> Tensor:
        """Return the positions whose rows come to every position if group ``origin[g]`` comes to group g."""
        if self.equal:
            rows = self.within
        else:
            # A window of a larger group, and any start in a smaller or a shifted group.
            sizes = self.sizes[origin]
            room = torch.where(sizes > self.sizes, sizes - self.sizes + 1, sizes)
            room[sizes == self.sizes] = 1
            room[self.single] = self.sizes[self.single]
            offset = (torch.rand(self.count, generator=generator, dtype=torch.float64) * room).long()
            rows = (offset[self.place] + self.within) % sizes[self.place]
        source = self.by_group[self.starts[origin][self.place] + rows]
        return torch.empty_like(source).scatter_(0, self.by_group, source)

    def strata(self, generator: torch.Generator) -> list[Int[Tensor, "g m"]]:
        """Return groups of equal or similar size, cut to the smallest size of their stratum."""
        strata = []
        for groups in self.similar:
            if len(groups) < 2:
                continue
            sizes = self.sizes[groups]
            length = int(sizes.min())
            first = self.starts[groups]
            if not self.equal:
                share = torch.rand(len(groups), generator=generator, dtype=torch.float64)
                first = first + (share * (sizes - length + 1)).long()
            strata.append(self.by_group[first[:, None] + torch.arange(length)])
        return strata


def _similar_sizes(sizes: Int[Tensor, "g"]) -> list[Int[Tensor, "h"]]:
    """Return the groups in strata of equal or similar sizes, in ascending order of size."""
    order = sizes.argsort(stable=True)
    different, counts = sizes[order].unique_consecutive(return_counts=True)
    strata: list[list[Tensor]] = []
    smallest, joined = 0, 0
    for size, groups in zip(different.tolist(), order.split(counts.tolist()), strict=True):
        enough = _MIN_STRATUM if size > _SIMILAR * smallest else _LARGE_STRATUM
        if not strata or joined >= enough:
            strata.append([])
            smallest, joined = size, 0
        strata[-1].append(groups)
        joined += len(groups)
    return [torch.cat(stratum) for stratum in strata]


class BlockLayout(Layout):
    """A stretch of rows in time order, whose units are blocks of equal length.

    A shift in a circle keeps the autocorrelation except at one border. It is exact if the rows are
    stationary and their end meets their start, and nearly so if they are much longer than a block.

    Args:
        k: number of rows.
        block_length: rows per block; the blocks of the layout are at least as long.
    """

    ordered = True

    def __init__(self, k: int, block_length: int) -> None:
        self.k = k
        self.count = max(1, k // block_length)
        self.unit = torch.arange(k) * self.count // k

    def rearrangements(self, columns: int, generator: torch.Generator) -> Iterator[Int[Tensor, "k"]]:
        """Yield shifts in a circle that are evenly spaced, so that no two columns keep their alignment."""
        start = torch.rand((), generator=generator)
        for index in torch.randperm(columns, generator=generator):
            yield (torch.arange(self.k) + int((index + start) * self.k / columns)) % self.k

    def strata(self, generator: torch.Generator) -> list[Int[Tensor, "g m"]]:
        """Return all rows as one stratum of groups of one row."""
        return [torch.arange(self.k)[:, None]]
