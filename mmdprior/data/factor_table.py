"""Known factors of images: names, values, and rows by factor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from mmdprior.data.known_factors import FactorKind, KnownFactors
from mmdprior.errors import InputError

__all__ = ["FactorTable"]


@dataclass(frozen=True)
class FactorTable:
    """Factors of a full grid: one row for every combination of factor values, the last factor fastest.

    Attributes:
        names: one name per factor.
        values: physical values of each factor in ascending order of its class, such as angles in radians.
        circular: names of the factors whose last value is next to the first.
        nominal: names of the factors whose values have no order, such as shapes.

    Example:
        >>> import torch
        >>> from mmdprior.data import FactorTable
        >>> table = FactorTable(("shape", "angle"), ((1, 2), (0.0, 90.0, 180.0)), circular=("angle",))
        >>> table.sizes, len(table)
        ((2, 3), 6)
        >>> table.index_of(torch.tensor([[1, 0], [1, 2]])).tolist()
        [3, 5]
        >>> table.factors_of(torch.tensor([3, 5])).tolist()
        [[1, 0], [1, 2]]
        >>> table.sample_factors(4, fixed={"shape": 1})[:, 0].tolist()
        [1, 1, 1, 1]
    """

    names: tuple[str, ...]
    values: tuple[tuple[int | float, ...], ...]
    circular: tuple[str, ...] = ()
    nominal: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""
        return tuple(map(len, self.values))

    @property
    def known_factors(self) -> KnownFactors:
        """The kind of each factor of images whose labels are the classes of this table."""
        kinds: dict[str, FactorKind | None] = {
            name: "discrete" if name in self.nominal else "circular" if name in self.circular else "ordinal"
            for name in self.names
        }
        periods = {name: float(self.sizes[self.position(name)]) for name in self.circular}
        return KnownFactors(kinds, periods, grid=True)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def index_of(self, factors: Int[Tensor, "b k"]) -> Int[Tensor, "b"]:
        """Return the row of each combination of factor classes.

        Raises:
            InputError: the number of columns differs from the number of factors, or a class is out of range.
        """
        if factors.ndim != 2 or factors.shape[1] != len(self.names):
            raise InputError(
                f"factors: shape {tuple(factors.shape)} received; give (n, {len(self.names)}), one column "
                f"per factor: {', '.join(self.names)}"
            )
        index = torch.zeros(len(factors), dtype=torch.long, device=factors.device)
        for name, column, size in zip(self.names, factors.unbind(1), self.sizes, strict=True):
            low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
            if low < 0 or high >= size:
                raise InputError(f"factors: {name} {low} to {high} received; give 0 to {size - 1}")
            index = index * size + column.long()
        return index

    def factors_of(self, indices: Int[Tensor, "b"]) -> Int[Tensor, "b k"]:
        """Return the factor classes of each row."""
        columns = []
        for size in reversed(self.sizes):
            columns.append(indices % size)
            indices = indices // size
        return torch.stack(columns[::-1], 1)

    def sample_factors(
        self, n: int, generator: torch.Generator | None = None, fixed: Mapping[str, int] | None = None
    ) -> Int[Tensor, "n k"]:
        """Sample factor classes independently and uniformly.

        Args:
            n: number of rows.
            generator: source of randomness on the CPU; the default generator if None.
            fixed: class by name for the factors that do not vary.

        Raises:
            InputError: a name in ``fixed`` is not the name of a factor, or its class is out of range.
        """
        columns = [torch.randint(size, (n,), generator=generator) for size in self.sizes]
        for name, value in (fixed or {}).items():
            columns[self.position(name)] = torch.full((n,), value)
        factors = torch.stack(columns, 1)
        self.index_of(factors[:1])
        return factors

    def position(self, name: str) -> int:
        """Return the column of a factor.

        Raises:
            InputError: there is no factor of this name.
        """
        if name not in self.names:
            raise InputError(f"factor: {name!r} received; give one of {', '.join(self.names)}")
        return self.names.index(name)

    def every(self, steps: Mapping[str, int]) -> tuple["FactorTable", Tensor]:
        """Return the table of every s-th value of some factors, and the rows that it keeps.

        Args:
            steps: step s by factor name; factors without one keep all values.

        Raises:
            InputError: a name is not the name of a factor, or a step is not an integer of at least 1.
        """
        kept = [torch.arange(size) for size in self.sizes]
        for name, step in steps.items():
            place = self.position(name)
            if isinstance(step, bool) or not isinstance(step, int) or step < 1:
                raise InputError(f"every.{name}: {step!r} received; give an integer of at least 1")
            kept[place] = kept[place][::step]
        values = tuple(
            tuple(column[i] for i in rows.tolist()) for column, rows in zip(self.values, kept, strict=True)
        )
        return replace(self, values=values), self.index_of(torch.cartesian_prod(*kept).reshape(-1, len(kept)))


def evenly(count: int, low: int | float = 0, high: int | float = 1) -> tuple[float, ...]:
    """Return ``count`` values from low to high at equal distances."""
    return tuple(torch.linspace(low, high, count, dtype=torch.float64).tolist())


def numbered(sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the classes 0, 1, 2, ... as the values of each factor."""
    return tuple(tuple(range(size)) for size in sizes)
