"""Independent priors on finitely many values: quantised and binary codes."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.factorized import Factorized
from mmdprior.priors.marginals import AtomsMarginal, one_each
from mmdprior.priors.prior import Marginal, Moments, positive_int

__all__ = ["Bernoulli", "Corners", "Grid"]


class _TwoPoint(Factorized):
    """Independent dimensions with two values each."""

    @abstractmethod
    def _points(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the lower values, the upper values and the probabilities of these, each (d,)."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        low, high, p = self._points()
        return torch.where(self._uniform((n, self.dim), generator) < p, high, low)

    def moments(self) -> Moments:
        """Mean and covariance."""
        low, high, p = self._points()
        return Moments(low + (high - low) * p, torch.diag((high - low).square() * p * (1 - p)))

    def marginals(self) -> list[Marginal]:
        """Return the two atoms of each dimension."""
        return one_each(_two_atoms, *self._points())


def _two_atoms(low: float, high: float, p: float) -> Marginal:
    return AtomsMarginal(
        torch.tensor([low, high], dtype=torch.float64), torch.tensor([1 - p, p], dtype=torch.float64)
    )


class Bernoulli(_TwoPoint):
    """Binary codes: ``high`` with probability p, else ``low``, independent over dimensions.

    Args:
        dim: number of dimensions d.
        p: probability of the upper value, one number or one a dimension.
        low: lower value, likewise.
        high: upper value, likewise.

    Raises:
        InputError: p outside [0, 1], high not above low, or a sequence that is not d long.
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
        self._register_ends(low, high)
        self.p: Tensor
        self.low: Tensor
        self.high: Tensor
        if not bool(((self.p >= 0) & (self.p <= 1)).all()):
            raise InputError(f"p: {p} received; every entry must be a probability, from 0 to 1")

    def _points(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.low, self.high, self.p


class Corners(_TwoPoint):
    """Corners of a hypercube, {-scale, scale}^d, equally likely.

    Args:
        dim: number of dimensions d.
        scale: half the side, one number or one a dimension.

    Raises:
        InputError: a non-positive scale, or a sequence that is not d long.
    """

    def __init__(self, dim: int, scale: float | Sequence[float] = 1.0) -> None:
        super().__init__(dim)
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.scale: Tensor

    def _points(self) -> tuple[Tensor, Tensor, Tensor]:
        return -self.scale, self.scale, torch.full_like(self.scale, 0.5)


class Grid(Factorized):
    """Equally likely points of a finite grid: the codes of a uniform quantiser with L levels.

    The step is (high - low) / L and the levels are the centres of the L cells,
    low + (k + 1/2) (high - low) / L for k = 0 .. L - 1; the ends themselves are not levels. So on
    [-1, 1] the step is 2 / L, and rounding U[-1, 1] to this grid costs (2 / L)^2 / 12.

    Args:
        dim: number of dimensions d.
        levels: L per dimension.
        low: lower ends of the cells, one number or one a dimension.
        high: upper ends, likewise.

    Raises:
        InputError: fewer than one level, high not above low, or a sequence that is not d long.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        low: float | Sequence[float] = -1.0,
        high: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim)
        self.levels = positive_int("levels", levels)
        self._register_ends(low, high)
        self.low: Tensor
        self.high: Tensor
        share = (torch.arange(levels, dtype=torch.float64)[:, None] + 0.5) / levels
        self.register_buffer("atoms", (self.low + (self.high - self.low).double() * share).to(self.low))
        self.atoms: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        device = self.device if generator is None else generator.device
        which = torch.randint(self.levels, (n, self.dim), generator=generator, device=device)
        return self.atoms.gather(0, which.to(self.device))

    def moments(self) -> Moments:
        """Mean and covariance: per dimension step^2 (L^2 - 1) / 12."""
        step = (self.high - self.low) / self.levels
        return Moments((self.low + self.high) / 2, torch.diag(step.square() * (self.levels**2 - 1) / 12))

    def marginals(self) -> list[Marginal]:
        """Return the L atoms of each dimension."""
        return one_each(_equally_likely, *self.atoms)


def _equally_likely(*atoms: float) -> Marginal:
    points = torch.tensor(atoms, dtype=torch.float64)
    return AtomsMarginal(points, torch.full_like(points, 1 / len(points)))
