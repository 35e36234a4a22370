"""Atoms, which are values that many rows share, and cells of columns that keep each atom separate."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["CELLS", "Atoms", "Cells", "find_atoms"]

CELLS = 16
"""Default number of cells per column."""
_MIN_ROWS = 10
"""Fewest rows of an atom."""
_MIN_SHARE = 0.01
"""Smallest share of the rows of an atom that has fewer rows than an average cell."""
_TIMES_AVERAGE = 10
"""Rows of such an atom, in multiples of the average rows per distinct value."""
_MIN_CELL_ROWS = 20
"""Fewest rows of a quantile cell in a column with atoms."""
_SCREENED = 4096
"""Random rows in which columns are searched for repeated values first."""


@dataclass(frozen=True)
class Atoms:
    """Atoms of every column, as `find_atoms` returns them.

    Attributes:
        values: (p, d, a) atoms in ascending order, filled up with infinity.
        cells: number of cells per column that defines them.

    Example:
        >>> import torch
        >>> from mmdprior.atoms import find_atoms
        >>> z = torch.randn(1, 1000, 2)
        >>> z[..., 1] = z[..., 1].clamp(min=1.0)
        >>> atoms = find_atoms(z)
        >>> atoms.values
        tensor([[[inf],
                 [1.]]])
        >>> atoms.position(torch.tensor([[[1.0, 1.0]]]))
        tensor([[[-1,  0]]])
    """

    values: Float[Tensor, "p d a"]
    cells: int

    @property
    def count(self) -> int:
        """Largest number of atoms per column."""
        return self.values.shape[2]

    def columns(self) -> list[tuple[int, int]]:
        """Return problem and dimension of every column that has atoms."""
        return [(q, i) for q, i in self.values.isfinite().any(2).nonzero().tolist()]

    def position(self, z: Float[Tensor, "p k d"]) -> Int[Tensor, "p k d"]:
        """Return the position in ``values`` of every entry that is an atom, and -1 for other entries."""
        if self.count == 0:
            return torch.full_like(z, -1, dtype=torch.long)
        columns = z.mT.contiguous()
        nearest = torch.searchsorted(self.values, columns).clamp(max=self.count - 1)
        return torch.where(self.values.gather(2, nearest) == columns, nearest, -1).mT

    def indicators(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d a"]:
        """Return 1 where an entry equals an atom of its column, and 0 elsewhere."""
        return functional.one_hot(self.position(z) + 1, self.count + 1)[..., 1:].to(z)

    def among_others(self, columns: Float[Tensor, "p n d"]) -> "Atoms":
        """Return only the atoms of columns in which at least 20 rows have other values.

        A function of a column of few values, such as a bit, needs no indicators of atoms.
        """
        mixed = (self.position(columns) < 0).sum(1) >= _MIN_CELL_ROWS
        values = torch.where(mixed[..., None], self.values, torch.inf)
        return Atoms(values[..., values.isfinite().flatten(0, 1).any(0)].contiguous(), self.cells)


def find_atoms(columns: Float[Tensor, "p n d"], cells: int = CELLS) -> Atoms:
    """Return the values that hold so many rows that quantile cells would merge them with other values.

    Where one value holds most rows, all quantiles are equal to it, and the other values share one cell. A
    value is therefore an atom if it has at least 10 rows and at least

    - the average number of rows per cell, n / cells. This is the rule of compressed histograms (Poosala et
      al., Improved histograms for selectivity estimation of range predicates, SIGMOD 1996); or
    - 1 % of the rows, and 10 times the average number of rows per distinct value. This finds a value that is
      repeated in an otherwise continuous column.

    The most frequent value comes first. An atom takes one cell, so the next value is compared with the rows,
    cells and distinct values that are left. Continuous codes have no atoms. Rounding to float32, to bfloat16
    or to two decimals makes none, and neither do 40 equally frequent levels.

    Args:
        columns: codes of every problem.
        cells: number of cells per column, at least 2. A column has at most ``cells - 1`` atoms.
    """
    p, _, d = columns.shape
    repeating = _repeating(columns).nonzero().tolist()
    by_column = [_column_atoms(columns[q, :, i], cells) for q, i in repeating]
    values = columns.new_full((p, d, max(map(len, by_column), default=0)), torch.inf)
    for (q, i), atoms in zip(repeating, by_column, strict=True):
        values[q, i, : len(atoms)] = atoms
    return Atoms(values, cells)


class Cells:
    """Cells of every column: one per atom, and quantile cells of equal frequency for all other values.

    A column without atoms has ``count`` quantile cells. In a column with atoms, the other values have as many
    quantile cells as are left, but none of fewer than ``rows`` rows.

    Args:
        columns: (p, n, d) codes that define the cells.
        count: number of cells per column, at least 2.
        rows: fewest rows per quantile cell in a column with atoms.

    Example:
        >>> import torch
        >>> from mmdprior.atoms import Cells
        >>> rare = (torch.arange(1000) % 50 == 0).float()[None, :, None]
        >>> Cells(rare, 16)(rare).unique(return_counts=True)
        (tensor([14, 15]), tensor([ 20, 980]))
    """

    def __init__(self, columns: Float[Tensor, "p n d"], count: int, rows: int = _MIN_CELL_ROWS) -> None:
        n = columns.shape[1]
        self.count = count
        self.atoms = find_atoms(columns, count)
        starts = torch.arange(1, count, device=columns.device) * n // count
        ordered = [column.sort(dim=1).values[:, starts] for column in columns.unbind(2)]
        self.edges = torch.stack(ordered, 1).contiguous()
        position = self.atoms.position(columns)
        for q, i in self.atoms.columns():
            others = columns[q, position[q, :, i] < 0, i].sort().values
            left = count - int(self.atoms.values[q, i].isfinite().sum())
            quantile_cells = max(1, min(left, len(others) // rows))
            starts = torch.arange(1, quantile_cells, device=columns.device) * len(others) // quantile_cells
            self.edges[q, i] = torch.inf
            self.edges[q, i, : quantile_cells - 1] = others[starts]

    def __call__(self, z: Float[Tensor, "p k d"]) -> Int[Tensor, "p k d"]:
        """Return the cell of every entry: quantile cells from 0 up, atoms from ``count - 1`` down."""
        quantile_cell = torch.searchsorted(self.edges, z.mT.contiguous(), right=True).mT
        position = self.atoms.position(z)
        return torch.where(position < 0, quantile_cell, self.count - 1 - position)


def _repeating(columns: Tensor) -> Tensor:
    """Return the (p, d) mask of columns in which a value has 10 of at most 4,096 random rows.

    The probability to miss an atom, which has at least 1 % of the rows, is below 1e-8.
    """
    if columns.shape[1] > _SCREENED:
        order = torch.randperm(columns.shape[1], generator=torch.Generator().manual_seed(0))
        columns = columns[:, order[:_SCREENED].to(columns.device)]
    ordered = columns.sort(1).values
    return (ordered[:, _MIN_ROWS - 1 :] == ordered[:, : 1 - _MIN_ROWS]).any(1)


def _column_atoms(column: Tensor, cells: int) -> Tensor:
    """Return the atoms of one column, in ascending order."""
    values, counts = column.unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)[: cells - 1]
    rows, distinct, chosen = len(column), len(values), 0
    for count in counts[order].tolist():
        average_cell = rows / (cells - chosen)
        repeated = max(_MIN_SHARE * len(column), _TIMES_AVERAGE * rows / distinct)
        if count < max(_MIN_ROWS, min(average_cell, repeated)):
            break
        rows, distinct, chosen = rows - count, distinct - 1, chosen + 1
    return values[order[:chosen]].sort().values
