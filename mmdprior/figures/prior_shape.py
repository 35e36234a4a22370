"""A prior as plain arrays: what figures and later comparisons need of it, without building it again."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors import Prior
from mmdprior.seeding import stream

__all__ = ["PriorShape", "finite_rows"]

_POINTS = 257
_TAIL = 5e-4
_DRAWS = 20_000


@dataclass(frozen=True)
class PriorShape:
    """Marginals on a grid, and draws.

    Attributes:
        grid: values of each dimension, rising, from below its .0005 to above its .9995 quantile.
        cdf: probability of at most these.
        draws: from the prior, of all dimensions together.
    """

    grid: Float[np.ndarray, "d g"]
    cdf: Float[np.ndarray, "d g"]
    draws: Float[np.ndarray, "m d"]

    @staticmethod
    def of(prior: Prior, draws: int = 2000) -> "PriorShape":
        """Return the shape of a prior: by its closed marginals, else by 20,000 draws."""
        sample = prior.sample(_DRAWS, stream(0, "shape", device=prior.device)).cpu().double()
        try:
            marginals = prior.marginals()
        except InputError:
            grid = _between(sample.quantile(_TAIL, dim=0), sample.quantile(1 - _TAIL, dim=0))
            columns = sample.T.contiguous().sort(1).values
            ranks = torch.searchsorted(columns, grid, right=True)
            cdf = ranks / len(sample)
        else:
            ends = torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64)
            low, high = torch.stack([marginal.quantile(ends).cpu() for marginal in marginals], 1)
            grid = _between(low, high)
            cdf = torch.stack([m.cdf(row).cpu() for m, row in zip(marginals, grid, strict=True)])
        plain = (part.numpy().astype(np.float32) for part in (grid, cdf.double(), sample[:draws]))
        return PriorShape(*plain)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return len(self.grid)

    def density(self, dimension: int) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "h"]]:
        """Return the middles of the grid's cells and the mean density in each."""
        grid, cdf = self.grid[dimension].astype(float), self.cdf[dimension].astype(float)
        width = np.maximum(np.diff(grid), 1e-12)
        return (grid[1:] + grid[:-1]) / 2, np.diff(cdf) / width

    def quantiles(self, levels: Float[np.ndarray, "q"]) -> Float[np.ndarray, "q d"]:
        """Return the quantiles of every dimension, linear between grid points."""
        rows = [np.interp(levels, cdf, grid) for cdf, grid in zip(self.cdf, self.grid, strict=True)]
        return np.stack(rows, 1)

    def distances(self, codes: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d"]:
        """Return the Kolmogorov-Smirnov distance of each dimension's codes, looked up on the grid."""
        if not len(codes):
            return np.full(self.dim, np.nan)
        columns = np.sort(codes, axis=0).T
        below = [
            np.searchsorted(z, x, side="right") / len(z) for z, x in zip(columns, self.grid, strict=True)
        ]
        return np.abs(np.stack(below) - self.cdf).max(1)


def finite_rows(codes: Tensor | np.ndarray) -> tuple[Float[np.ndarray, "n d"], str]:
    """Return the rows that are finite in float64, and a note on those that are not, or an empty one.

    Raises:
        InputError: anything but a table of numbers with a column at least.
    """
    z = codes.detach().cpu().double().numpy() if isinstance(codes, Tensor) else np.asarray(codes, float)
    if z.ndim != 2 or z.shape[1] == 0:
        raise InputError(f"codes: shape {z.shape} received; give n rows of d numbers")
    there = np.isfinite(z).all(1)
    bad = int((~there).sum())
    return z[there], f"{bad} of {len(z)} codes are not finite and left out" if bad else ""


def _between(low: Tensor, high: Tensor) -> Tensor:
    """Return grids from low to high, a tenth wider on either side; of one value, half a unit around it."""
    margin = (0.1 * (high - low)).clamp(min=1e-3)
    steps = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    return (low - margin)[:, None] + (high - low + 2 * margin)[:, None] * steps
