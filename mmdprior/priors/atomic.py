"""Priors with independent dimensions on finitely many values: quantised and binary codes."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.arguments import positive_int
from mmdprior.priors.factorized import Factorized
from mmdprior.priors.marginals import AtomsMarginal, per_dimension
from mmdprior.priors.prior import Marginal, Moments
from mmdprior.priors.snapshot import Derived
from mmdprior.seeding import generator_options

__all__ = ["Bernoulli", "Corners", "Grid"]


class _TwoValued(Factorized):
    """Base of priors with two values per dimension."""

    @abstractmethod
    def _values(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return lower values, upper values and the probabilities of the upper values, each (d,)."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        low, high, p = self._values()
        return torch.where(self._uniform((n, self.dim), generator) < p, high, low)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        low, high, p = self._values()
        return Moments(low + (high - low) * p, torch.diag((high - low).square() * p * (1 - p)))

    def marginals(self) -> list[Marginal]:
        """Return the two atoms of each dimension."""
        return per_dimension(_two_atoms, *self._values())


def _two_atoms(low: float, high: float, p: float) -> Marginal:
    return AtomsMarginal(
        torch.tensor([low, high], dtype=torch.float64), torch.tensor([1 - p, p], dtype=torch.float64)
    )


class Bernoulli(_TwoValued):
    """Binary codes: each dimension is ``high`` with probability p and ``low`` otherwise, independently.

    Args:
        dim: number of dimensions d.
        p: probability of the upper value, one number or one per dimension.
        low: lower value, one number or one per dimension.
        high: upper value, one number or one per dimension.

    Raises:
        InputError: p is outside [0, 1], high is not above low, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Bernoulli
        >>> prior = Bernoulli(4, p=0.25)
        >>> sorted(prior.sample(100).unique().tolist())
        [0.0, 1.0]
        >>> prior.moments().mean.tolist()
        [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        dim: int,
        p: float | Sequence[float] = 0.5,
        low: float | Sequence[float] = 0.0,
        high: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim)
        self.register_buffer("p", self._vector("p", p))
        self._register_interval(low, high)
        self.p: Tensor
        self.low: Tensor
        self.high: Tensor
        if not bool(((self.p >= 0) & (self.p <= 1)).all()):
            raise InputError(f"p: {p} received; every entry must be a probability from 0 to 1")

    def _values(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.low, self.high, self.p


class Corners(_TwoValued):
    """Corners of a hypercube, {-scale, scale}^d, with equal probabilities.

    Args:
        dim: number of dimensions d.
        scale: half the side length, one number or one per dimension.

    Raises:
        InputError: a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Corners
        >>> prior = Corners(3, scale=2.0)
        >>> sorted(prior.sample(100).unique().tolist())
        [-2.0, 2.0]
    """

    def __init__(self, dim: int, scale: float | Sequence[float] = 1.0) -> None:
        super().__init__(dim)
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.scale: Tensor

    def _values(self) -> tuple[Tensor, Tensor, Tensor]:
        return -self.scale, self.scale, torch.full_like(self.scale, 0.5)


class Grid(Factorized):
    """Points of a regular grid with equal probabilities: the codes of a uniform quantiser with L levels.

    The interval [low, high] is cut into L cells of width (high - low) / L. The levels are their centres,
    low + (k + 1/2) (high - low) / L for k = 0 .. L - 1, so low and high are not levels themselves. On [-1, 1]
    the cells are 2 / L wide, and rounding U[-1, 1] to this grid has a mean squared error of (2 / L)^2 / 12.

    Args:
        dim: number of dimensions d.
        levels: number of levels L per dimension.
        low: lower end of the first cell, one number or one per dimension.
        high: upper end of the last cell, one number or one per dimension.

    Raises:
        InputError: levels is below 1, high is not above low, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Grid
        >>> prior = Grid(2, levels=4)
        >>> sorted(prior.sample(100).unique().tolist())
        [-0.75, -0.25, 0.25, 0.75]
    """

    _former_buffers = ("atoms",)

    def __init__(
        self,
        dim: int,
        levels: int,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim)
        self.levels = positive_int("levels", levels)
        self._register_interval(low, high)
        self.low: Tensor
        self.high: Tensor
        self._atoms = Derived(_grid_atoms)

    @property
    def atoms(self) -> Float[Tensor, "L d"]:
        """The levels of each dimension."""
        return self._atoms.of(self.low, self.high, self.levels).to(self.low)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        device = self._sampling_device(generator)
        options = generator_options(generator)
        levels = torch.randint(self.levels, (n, self.dim), **options, device=device)
        return self.atoms.gather(0, levels.to(self.device))

    def moments(self) -> Moments:
        """Return mean and covariance; the variance is width^2 (L^2 - 1) / 12 for cells of that width."""
        width = (self.high - self.low) / self.levels
        return Moments((self.low + self.high) / 2, torch.diag(width.square() * (self.levels**2 - 1) / 12))

    def marginals(self) -> list[Marginal]:
        """Return the L atoms of each dimension."""
        return per_dimension(_equal_atoms, *self.atoms)


def _grid_atoms(low: Tensor, high: Tensor, levels: int) -> Tensor:
    start, end = low.cpu(), high.cpu()
    fraction = (torch.arange(levels, dtype=torch.float64)[:, None] + 0.5) / levels
    return (start + (end - start).double() * fraction).to(low)


def _equal_atoms(*atoms: float) -> Marginal:
    points = torch.tensor(atoms, dtype=torch.float64)
    return AtomsMarginal(points, torch.full_like(points, 1 / len(points)))
