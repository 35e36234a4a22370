"""Scalar quantisers that are fitted to codes after training: cells and values per dimension."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.models.quantiser import Quantiser, levels_of

__all__ = ["BinKind", "BinQuantiser", "allocated_bins", "fit_bins"]

BinKind = Literal["lloyd", "uniform", "quantile"]
"""How cells are chosen; see `fit_bins`."""

_TAILS = (0.0, 0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2)
"""Shares of the codes outside of the range of uniform cells, on either side, that are tried."""

_ROUNDS = 300
"""Most rounds of Lloyd's algorithm."""

_PROGRESS = 1e-7
"""Relative decrease of the squared error of every dimension below which Lloyd's algorithm ends."""

_HALVINGS = 24
"""Halvings of the interval that holds the common factor of the widths of allocated cells."""


class BinQuantiser(Quantiser):
    """Cells between given edges, with one value per cell, for every dimension.

    Args:
        edges: per dimension the L - 1 increasing edges between its cells.
        values: per dimension the L values of its cells.

    Raises:
        InputError: another number of edges than of values less one.

    Example:
        >>> import torch
        >>> from mmdprior.models.bins import BinQuantiser
        >>> quantiser = BinQuantiser([[0.0], [-1.0, 1.0]], [[-0.5, 0.5], [-2.0, 0.0, 2.0]]).eval()
        >>> quantiser(torch.tensor([[0.1, 5.0], [-3.0, 0.2]])).tolist()
        [[0.5, 2.0], [-0.5, 0.0]]
    """

    edges: Tensor
    table: Tensor

    def __init__(self, edges: Sequence[Sequence[float]], values: Sequence[Sequence[float]]) -> None:
        counts = [len(row) for row in values]
        if [len(row) + 1 for row in edges] != counts:
            raise InputError(
                f"edges: lengths {[len(row) for row in edges]} received; expected one less than the values "
                f"of each dimension: {[count - 1 for count in counts]}"
            )
        super().__init__(len(counts), counts, train="after")
        most = max(counts)
        # Rows of the same length: edges at infinity, which no code exceeds.
        padded = [[*row, *[float("inf")] * (most - 1 - len(row))] for row in edges]
        self.register_buffer("edges", torch.tensor(padded))
        table = [[*row, *[row[-1]] * (most - len(row))] for row in values]
        self.register_buffer("table", torch.tensor(table))

    @property
    def adapts(self) -> bool:
        """False: the cells are fixed."""
        return False

    def indices(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the cell of every code. A code on an edge belongs to the upper cell."""
        return torch.searchsorted(self.edges, z.T.to(self.edges).contiguous(), right=True).T

    def values(self, indices: Int[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the values of cells."""
        return self.table.T.gather(0, indices)


def fit_bins(
    codes: Float[Tensor, "n d"], levels: int | Sequence[int], kind: BinKind = "lloyd"
) -> BinQuantiser:
    """Fit the cells of every dimension to codes; the value of a cell is the mean of the codes in it.

    - ``lloyd``: cells of least squared error, by Lloyd's algorithm from both of the other two. It is
      the least error of any quantiser with L levels per dimension, up to local minima.
    - ``uniform``: equal cells between two symmetric quantiles, those of least squared error among 13 pairs
      between 0 % and 20 %.
    - ``quantile``: cells of equal numbers of codes, so that the index entropy is log2 L.

    Args:
        codes: codes of training images.
        levels: number of levels of every dimension, or one number per dimension.
        kind: how the cells are chosen.

    Raises:
        InputError: an unknown kind, or fewer codes than levels.

    Example:
        >>> import torch
        >>> from mmdprior.models.bins import fit_bins
        >>> codes = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0))
        >>> quantiser = fit_bins(codes, levels=2)
        >>> [round(value, 1) for value in quantiser.table[0].tolist()]  # +-sqrt(2 / pi)
        [-0.8, 0.8]
    """
    if kind not in ("lloyd", "uniform", "quantile"):
        raise InputError(f"bins: {kind!r} received; expected one of lloyd, uniform, quantile")
    counts = levels_of(levels, codes.shape[1])
    if len(codes) < max(counts):
        raise InputError(f"codes: {len(codes)} received; {max(counts)} levels need at least as many")
    columns = [_Column(column) for column in codes.detach().double().cpu().T]
    edges = [column.edges(count, kind) for column, count in zip(columns, counts, strict=True)]
    values = [column.means(row) for column, row in zip(columns, edges, strict=True)]
    return BinQuantiser([row.tolist() for row in edges], [row.tolist() for row in values])


def allocated_bins(
    codes: Float[Tensor, "n d"], sensitivities: Float[Tensor, "d"], bits: float
) -> BinQuantiser:
    """Fit equal cells whose width is inverse to the sensitivity of each dimension, at a mean index entropy.

    To first order, an error e_i of dimension i changes an image by s_i e_i. Widths w_i = c / s_i give all
    dimensions the same share of the distortion, which is the best allocation of bits at a high rate (reverse
    water-filling). The values are the means of the codes in each cell.

    Args:
        codes: codes of training images.
        sensitivities: positive s_i per dimension.
        bits: index entropy per dimension, averaged over dimensions, that c is chosen for.

    Example:
        >>> import torch
        >>> from mmdprior.models.bins import allocated_bins
        >>> codes = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0))
        >>> quantiser = allocated_bins(codes, torch.tensor([4.0, 1.0]), bits=2.0)
        >>> quantiser.levels[0] > 2 * quantiser.levels[1]
        True
    """
    columns = [_Column(column) for column in codes.detach().double().cpu().T]
    scales = [1 / value for value in sensitivities.tolist()]
    # Widths between a thousandth of the narrowest range and the widest range, by bisection of the logarithm.
    ranges = [
        float(column.codes[-1] - column.codes[0]) / s for column, s in zip(columns, scales, strict=True)
    ]
    low, high = math.log(max(min(ranges), 1e-12) / 1000), math.log(max(ranges) + 1e-12)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        edges = [column.grid(math.exp(middle) * s) for column, s in zip(columns, scales, strict=True)]
        entropies = [column.entropy(row) for column, row in zip(columns, edges, strict=True)]
        if sum(entropies) > bits * len(columns):
            low = middle
        else:
            high = middle
    values = [column.means(row) for column, row in zip(columns, edges, strict=True)]
    return BinQuantiser([row.tolist() for row in edges], [row.tolist() for row in values])


class _Column:
    """Sorted codes of one dimension, with the sums that give means and errors of cells at once."""

    def __init__(self, codes: Float[Tensor, "n"]) -> None:
        self.codes = codes.sort().values
        zero = torch.zeros(1, dtype=torch.float64)
        self.sums = torch.cat([zero, self.codes.cumsum(0)])

    def edges(self, count: int, kind: BinKind) -> Tensor:
        """Return the edges between cells."""
        if kind == "quantile":
            return self._quantile_edges(count)
        uniform = min((self._uniform_edges(count, tail) for tail in _TAILS), key=self.error)
        if kind == "uniform":
            return uniform
        return min(self._lloyd(uniform), self._lloyd(self._quantile_edges(count)), key=self.error)

    def grid(self, width: float) -> Tensor:
        """Return edges of cells of a width, one of which has the mean in its middle; one edge at least."""
        mean = float(self.codes.mean())
        first = math.floor((float(self.codes[0]) - mean) / width + 0.5)
        last = math.ceil((float(self.codes[-1]) - mean) / width - 0.5)
        return mean + (torch.arange(first, max(last, first + 1), dtype=torch.float64) + 0.5) * width

    def entropy(self, edges: Tensor) -> float:
        """Return the entropy of the cells in bits."""
        shares = self._bounds(edges).diff().double() / len(self.codes)
        return float(-torch.xlogy(shares, shares).sum()) / math.log(2)

    def means(self, edges: Tensor) -> Tensor:
        """Return the mean of the codes in each cell; for an empty cell the middle of its edges."""
        bounds = self._bounds(edges)
        sizes = bounds.diff()
        means = self.sums[bounds].diff() / sizes.clamp(min=1)
        ends = torch.cat([self.codes[:1], edges, self.codes[-1:]])
        return torch.where(sizes > 0, means, (ends[1:] + ends[:-1]) / 2)

    def error(self, edges: Tensor) -> float:
        """Return the squared error of cell means, up to the constant sum of squares of the codes."""
        bounds = self._bounds(edges)
        return -float((self.sums[bounds].diff().square() / bounds.diff().clamp(min=1)).sum())

    def _bounds(self, edges: Tensor) -> Tensor:
        """Return the first code of each cell, and the number of codes."""
        inner = torch.searchsorted(self.codes, edges)
        return torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(self.codes))])

    def _quantile_edges(self, count: int) -> Tensor:
        return torch.quantile(self.codes, torch.arange(1, count, dtype=torch.float64) / count)

    def _uniform_edges(self, count: int, tail: float) -> Tensor:
        low, high = torch.quantile(self.codes, torch.tensor([tail, 1 - tail], dtype=torch.float64))
        return low + (high - low) * torch.arange(1, count, dtype=torch.float64) / count

    def _lloyd(self, edges: Tensor) -> Tensor:
        """Return edges halfway between the means of their cells, by alternation."""
        spread = float((self.codes - self.codes.mean()).square().sum())
        error = self.error(edges)
        for _ in range(_ROUNDS):
            means = self.means(edges)
            proposed = ((means[1:] + means[:-1]) / 2).sort().values
            new_error = self.error(proposed)
            if error - new_error <= _PROGRESS * spread / len(edges):
                return edges if new_error > error else proposed
            edges, error = proposed, new_error
        return edges
