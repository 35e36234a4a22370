"""A prior as plain arrays: marginal CDFs on grids, and samples. Figures need no more of a prior."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.atoms import find_atoms
from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.seeding import stream

__all__ = ["PriorShape", "finite_rows"]

_GRID_POINTS = 257
_TAIL = 5e-4
"""Probability below the lowest and above the highest quantile that the grid covers."""
_SAMPLES = 20_000
"""Samples that estimate the marginals of a prior without closed ones."""


@dataclass(frozen=True)
class PriorShape:
    """Marginal CDFs of a prior on grids, and samples from it.

    Attributes:
        grid: (d, g) increasing values per dimension, from below the 0.0005 quantile to above the 0.9995
            quantile.
        cdf: (d, g) cumulative probability of each dimension at its grid values.
        draws: (m, d) samples from the prior.

    Example:
        >>> import numpy as np
        >>> from mmdprior.figures import PriorShape
        >>> from mmdprior.priors import Uniform
        >>> shape = PriorShape.of(Uniform(2, low=-1.0, high=1.0))
        >>> shape.dim, shape.draws.shape
        (2, (2000, 2))
        >>> shape.quantiles(np.array([0.25, 0.5])).round(2).tolist()
        [[-0.5, -0.5], [0.0, 0.0]]
    """

    grid: Float[np.ndarray, "d g"]
    cdf: Float[np.ndarray, "d g"]
    draws: Float[np.ndarray, "m d"]

    @staticmethod
    def of(prior: Prior, draws: int = 2000) -> "PriorShape":
        """Compute the shape of a prior, from its closed marginals or else from 20,000 samples.

        Args:
            prior: the prior; the samples have a fixed seed.
            draws: number of samples to keep.
        """
        sample = prior.sample(_SAMPLES, stream(0, "shape", device=prior.device)).cpu().double()
        try:
            marginals = prior.marginals()
        except InputError:
            grid = _grid_between(sample.quantile(_TAIL, dim=0), sample.quantile(1 - _TAIL, dim=0))
            columns = sample.T.contiguous().sort(1).values
            ranks = torch.searchsorted(columns, grid, right=True)
            cdf = ranks / len(sample)
        else:
            ends = torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64)
            low, high = torch.stack([marginal.quantile(ends).cpu() for marginal in marginals], 1)
            grid = _grid_between(low, high)
            cdf = torch.stack([m.cdf(row).cpu() for m, row in zip(marginals, grid, strict=True)])
        arrays = (part.numpy().astype(np.float32) for part in (grid, cdf.double(), sample[:draws]))
        return PriorShape(*arrays)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return len(self.grid)

    def density(self, dimension: int) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "h"]]:
        """Return the middles of the grid cells of one dimension, and the mean density in each cell."""
        grid, cdf = self.grid[dimension].astype(float), self.cdf[dimension].astype(float)
        width = np.maximum(np.diff(grid), 1e-12)
        return (grid[1:] + grid[:-1]) / 2, np.diff(cdf) / width

    def atomic_cells(self, dimension: int) -> Bool[np.ndarray, "h"]:
        """Return which grid cells of one dimension hold an atom that is among other values."""
        draws = torch.from_numpy(self.draws[None, :, dimension : dimension + 1])
        atoms = find_atoms(draws).among_others(draws).values.flatten().numpy()
        cells = np.zeros(self.grid.shape[1] - 1, dtype=bool)
        cells[np.searchsorted(self.grid[dimension], atoms).clip(1, len(cells)) - 1] = True
        return cells

    def quantiles(self, levels: Float[np.ndarray, "q"]) -> Float[np.ndarray, "q d"]:
        """Return quantiles of every dimension, interpolated linearly between grid points.

        Args:
            levels: (q,) probabilities in (0, 1).
        """
        rows = [np.interp(levels, cdf, grid) for cdf, grid in zip(self.cdf, self.grid, strict=True)]
        return np.stack(rows, 1)

    def distances(self, codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d"]:
        """Return the Kolmogorov-Smirnov distance between codes and prior, per dimension.

        The distance is the largest difference of the two CDFs over the grid; NaN without codes.
        """
        if not len(codes):
            return np.full(self.dim, np.nan)
        columns = np.sort(codes, axis=0).T
        empirical_cdf = [
            np.searchsorted(z, x, side="right") / len(z) for z, x in zip(columns, self.grid, strict=True)
        ]
        return np.abs(np.stack(empirical_cdf) - self.cdf).max(1)


def finite_rows(codes: Tensor | np.ndarray) -> tuple[Float[np.ndarray, "n d"], str]:
    """Return the finite rows of codes in float64, and a note on how many rows were left out.

    Args:
        codes: (n, d) array or tensor of numbers.

    Returns:
        The finite rows, and a note that is empty if all rows are finite.

    Raises:
        InputError: the codes are not two-dimensional or have no columns.
    """
    z = codes.detach().cpu().double().numpy() if isinstance(codes, Tensor) else np.asarray(codes, float)
    if z.ndim != 2 or z.shape[1] == 0:
        raise InputError(f"codes: shape {z.shape} received; give n rows of d numbers")
    finite = np.isfinite(z).all(1)
    count = int((~finite).sum())
    return z[finite], f"{count} of {len(z)} codes are not finite and left out" if count else ""


def _grid_between(low: Float[Tensor, "d"], high: Float[Tensor, "d"]) -> Float[Tensor, "d g"]:
    """Return one grid per dimension, wider than [low, high] by a tenth (at least 0.001) on each side."""
    margin = (0.1 * (high - low)).clamp(min=1e-3)
    steps = torch.linspace(0, 1, _GRID_POINTS, dtype=torch.float64)
    return (low - margin)[:, None] + (high - low + 2 * margin)[:, None] * steps
