"""Groups of rows that depend on one another: how they are split, rearranged and resampled as wholes."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.block_length import autocorrelation, joint_level, optimal_block_length
from mmdprior.metrics.layout import BlockLayout, GroupLayout, Layout
from mmdprior.seeding import stream

__all__ = ["Blocks", "Grouping", "Groups", "Split"]

_TRAIN_SHARE, _VALIDATION_SHARE = 0.6, 0.2
_TEST_SHARE = 1 - _TRAIN_SHARE - _VALIDATION_SHARE
_VALIDATION_OF_OTHERS = _VALIDATION_SHARE / (_TRAIN_SHARE + _VALIDATION_SHARE)
_MIN_FOLD_ROWS = 10
_MIN_PART_ROWS = 5
_GAP_BLOCKS = 2
"""Blocks left out between two parts of a split in time order."""
_MIN_TRAIN_SHARE = 1 / 8
"""Smallest share of rows in time order that the gaps may leave to train on."""
_MAX_REMAINING = 0.3
"""Joint autocorrelation across a gap from which rows count as dependent for longer than the blocks."""


class Split(NamedTuple):
    """Row indices of one fold."""

    train: Int[Tensor, "n"]
    validation: Int[Tensor, "m"]
    test: Int[Tensor, "k"]


class Grouping(ABC):
    """Which of n rows depend on one another.

    Attributes:
        n: number of rows.
        count: number of groups.
        block_length: rows per block, for rows in time order; otherwise None.
        persistent: whether rows depend on one another for longer than the blocks, so that no p-value and no
            interval holds.
    """

    n: int
    count: int
    block_length: int | None = None
    persistent: bool = False

    @abstractmethod
    def split(self, folds: int, seed: int, uses_validation: bool) -> list[Split]:
        """Return a split of the rows per fold; no group is in two parts of a split.

        Args:
            folds: 1 for one 60/20/20 split, or K for cross-fitting.
            seed: seed of the random order.
            uses_validation: whether the predictor needs validation rows; otherwise they join the training
                rows.

        Raises:
            InputError: there are too few rows or groups.
        """

    @abstractmethod
    def layout(self, rows: Int[Tensor, "k"]) -> Layout:
        """Return the groups of some rows: those of one part of a split."""

    @abstractmethod
    def independent_rows(self, seed: int) -> Int[Tensor, "m"]:
        """Return rows that are independent of one another, in ascending order."""


class Groups(Grouping):
    """Rows with a label each; rows of equal label form a group.

    Args:
        labels: (n,) group of every row: 0, 1, ..., each of which occurs.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.grouping import Groups
        >>> split = Groups(torch.arange(10).repeat_interleave(4)).split(1, seed=0, uses_validation=True)[0]
        >>> len(split.train), len(split.validation), len(split.test)
        (24, 8, 8)
        >>> (split.test // 4).unique_consecutive()  # whole groups
        tensor([6, 9])
    """

    def __init__(self, labels: Int[Tensor, "n"]) -> None:
        self.labels = labels
        self.n = len(labels)
        self.sizes = torch.bincount(labels)
        self.count = len(self.sizes)
        # Rows of group g: by_group[starts[g] : starts[g] + sizes[g]].
        self.by_group = labels.argsort(stable=True)
        self.starts = self.sizes.cumsum(0) - self.sizes
        self.equal = bool((self.sizes == self.sizes[0]).all())

    @staticmethod
    def independent(n: int) -> "Groups":
        """Return n groups of one row each."""
        return Groups(torch.arange(n))

    def split(self, folds: int, seed: int, uses_validation: bool) -> list[Split]:
        """Return a random split of the groups per fold.

        Groups of equal size are dealt in random order. With several folds, up to folds - 1 of them are then
        never tested. Groups of unequal sizes are dealt from large to small, in random order among those of
        similar size, each to the part that is furthest below its share of rows.
        """
        order = torch.randperm(self.count, generator=stream(seed, "split"))
        if folds == 1:
            self._check_count(3 if uses_validation else 2)
            parts = self._three_parts(order, uses_validation)
            splits = [Split(*map(self._rows_of, parts))]
        else:
            self._check_folds(folds, 3 if uses_validation else 2)
            splits = [self._fold(order, test, uses_validation) for test in self._folds(order, folds)]
        if not uses_validation:
            splits = [Split(torch.cat([s.train, s.validation]), s.validation[:0], s.test) for s in splits]
        if self.count < self.n:
            self._check_rows(splits, uses_validation)
        return splits

    def _three_parts(self, order: Tensor, uses_validation: bool) -> list[Tensor]:
        """Return the groups to train on, to validate on and to test on."""
        if not self.equal:
            train, test, validation = self._deal(order, [_TRAIN_SHARE, _TEST_SHARE, _VALIDATION_SHARE])
            return [train, validation, test]
        validation_size = max(round(_VALIDATION_SHARE * len(order)), int(uses_validation))
        train_size = min(round(_TRAIN_SHARE * len(order)), len(order) - validation_size - 1)
        sizes = [train_size, validation_size, len(order) - train_size - validation_size]
        return list(order.split(sizes))

    def _folds(self, order: Tensor, folds: int) -> list[Tensor]:
        """Return the groups that each fold is tested on."""
        if not self.equal:
            return self._deal(order, [1.0] * folds)
        size = len(order) // folds
        return [order[fold * size : (fold + 1) * size] for fold in range(folds)]

    def _fold(self, order: Tensor, test: Tensor, uses_validation: bool) -> Split:
        others = order[~torch.isin(order, test)]
        if self.equal:
            count = max(round(_VALIDATION_OF_OTHERS * len(others)), int(uses_validation))
            train, validation = others[count:], others[:count]
        else:
            train, validation = self._deal(others, [1 - _VALIDATION_OF_OTHERS, _VALIDATION_OF_OTHERS])
        return Split(self._rows_of(train), self._rows_of(validation), self._rows_of(test))

    def _deal(self, groups: Tensor, shares: Sequence[float]) -> list[Tensor]:
        """Deal groups to parts, from large to small, to the part of the smallest rows / share.

        Sizes up to a factor of two count as similar, so that the order among them stays random.
        """
        size_class = self.sizes[groups].double().log2().floor()
        ordered = groups[size_class.argsort(descending=True, stable=True)]
        filled = [(0.0, part) for part in range(len(shares))]
        parts: list[list[int]] = [[] for _ in shares]
        for group, size in zip(ordered.tolist(), self.sizes[ordered].tolist(), strict=True):
            rows, part = filled[0]
            parts[part].append(group)
            heapq.heapreplace(filled, (rows + size / shares[part], part))
        return [torch.tensor(part, dtype=torch.long) for part in parts]

    def _rows_of(self, groups: Tensor) -> Tensor:
        """Return the rows of groups, group after group."""
        sizes = self.sizes[groups]
        first = (self.starts[groups] - (sizes.cumsum(0) - sizes)).repeat_interleave(sizes)
        return self.by_group[first + torch.arange(len(first))]

    def _check_count(self, parts: int) -> None:
        if self.count < parts:
            number = f"{self.count} group" + ("s" if self.count != 1 else "")
            raise InputError(f"groups: {number} received; give at least {parts}, one per part of the split")

    def _check_folds(self, folds: int, parts: int) -> None:
        if self.n // folds < _MIN_FOLD_ROWS:
            raise InputError(
                f"folds: {folds} received for {self.n} rows; give at most {self.n // _MIN_FOLD_ROWS}"
            )
        self._check_count(parts)
        if self.count < folds:
            raise InputError(f"folds: {folds} received for {self.count} groups; give at most {self.count}")

    def _check_rows(self, splits: Sequence[Split], uses_validation: bool) -> None:
        parts = {"train": [s.train for s in splits], "test": [s.test for s in splits]}
        if uses_validation:
            parts["validate"] = [s.validation for s in splits]
        for purpose, rows in parts.items():
            fewest = min(map(len, rows))
            if fewest < _MIN_PART_ROWS:
                largest = int(self.sizes.max())
                raise InputError(
                    f"groups: the largest of {self.count} has {largest} of {self.n} rows, which leaves "
                    f"{fewest} to {purpose} on; give more or smaller groups"
                )

    def layout(self, rows: Int[Tensor, "k"]) -> GroupLayout:
        """Return the groups of some rows."""
        if self.count == self.n:
            return GroupLayout(torch.arange(len(rows)))
        groups, inverse = self.labels[rows].unique(return_inverse=True)
        # Numbered by the first row of each group, so that results do not depend on the labels.
        first = torch.full_like(groups, len(rows))
        first = first.scatter_reduce(0, inverse, torch.arange(len(rows)), "amin")
        return GroupLayout(first.argsort().argsort()[inverse])

    def independent_rows(self, seed: int) -> Int[Tensor, "m"]:
        """Return one random row per group."""
        share = torch.rand(self.count, generator=stream(seed, "rows of groups"), dtype=torch.float64)
        return self.by_group[self.starts + (share * self.sizes).long()].sort().values


class Blocks(Grouping):
    """Rows in time order; rows at a distance of more than a block are nearly independent.

    Every part of a split is one stretch of rows (up to joining the end to the start), because each border
    between two parts costs a gap. Gaps are two blocks long, so that the rows at the ends of two parts are
    nearly independent (h-block cross-validation, Burman, Chow & Nolan, 1994).

    Args:
        z: (n, d) codes in time order.
        block_length: rows per block; None for `optimal_block_length`.

    Raises:
        InputError: ``block_length`` is below 1, or the gaps leave too few rows.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.grouping import Blocks
        >>> blocks = Blocks(torch.randn(1000, 2), block_length=10)
        >>> split = blocks.split(1, seed=0, uses_validation=False)[0]
        >>> blocks.count, len(split.train), len(split.test)
        (100, 760, 200)
    """

    def __init__(self, z: Float[Tensor, "n d"], block_length: int | None = None) -> None:
        if block_length is not None and block_length < 1:
            raise InputError(f"block_length: {block_length} received; give at least 1")
        self.n = len(z)
        self.estimated = block_length is None
        self.block_length: int = optimal_block_length(z) if block_length is None else block_length
        self.count = max(1, self.n // self.block_length)
        self.gap = _GAP_BLOCKS * self.block_length
        self.remaining = joint_level(autocorrelation(z, self.gap)) if self.gap < self.n // 2 else 0.0
        self.persistent = self.remaining > _MAX_REMAINING

    def split(self, folds: int, seed: int, uses_validation: bool) -> list[Split]:
        """Return one stretch of test rows per fold, and the others without the gaps."""
        if folds == 1:
            size = self.n - round(_TRAIN_SHARE * self.n) - round(_VALIDATION_SHARE * self.n)
            starts = [int(torch.randint(self.n - size + 1, (), generator=stream(seed, "split")))]
        else:
            size = self.n // folds
            if size < max(_MIN_FOLD_ROWS, self.block_length):
                most = self.n // max(_MIN_FOLD_ROWS, self.block_length)
                raise InputError(f"folds: {folds} received for {self.count} blocks; give at most {most}")
            starts = [fold * size for fold in range(folds)]
        return [self._stretches(start, size, uses_validation) for start in starts]

    def _stretches(self, start: int, size: int, uses_validation: bool) -> Split:
        test = torch.arange(start, start + size)
        # The rows after the test rows, then those before them: one stretch, joined where the rows end.
        others = (start + size + self.gap + torch.arange(max(0, self.n - size - 2 * self.gap))) % self.n
        count, left = 0, len(others)
        if uses_validation:
            count = round(_VALIDATION_OF_OTHERS * max(0, left - self.gap))
            left -= count + self.gap
        if left < max(_MIN_PART_ROWS, _MIN_TRAIN_SHARE * self.n):
            source = "estimated from the autocorrelation" if self.estimated else "received"
            raise InputError(
                f"block_length: {self.block_length} {source} for {self.n} rows, so the gaps between parts "
                f"leave {max(0, left)} rows to train on; give more rows or a smaller block_length"
            )
        return Split(others[len(others) - left :], others[:count], test)

    def layout(self, rows: Int[Tensor, "k"]) -> BlockLayout:
        """Return blocks of a stretch of rows in time order."""
        return BlockLayout(len(rows), self.block_length)

    def independent_rows(self, seed: int) -> Int[Tensor, "m"]:
        """Return one row per block, evenly spaced."""
        start = torch.randint(self.block_length, (), generator=stream(seed, "rows of groups"))
        return torch.arange(int(start), self.n, self.block_length)
