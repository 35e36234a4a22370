"""Priors whose dimensions are independent."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mmdprior.errors import InputError
from mmdprior.priors.marginals import (
    LaplaceMarginal,
    LogisticMarginal,
    NormalMarginal,
    UniformMarginal,
    one_each,
)
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["Factorized", "Gaussian", "Laplace", "LocationScale", "Logistic", "Uniform"]


class Factorized(Prior):
    """A prior whose dimensions are independent, so that its marginals say everything."""

    @property
    def independent(self) -> bool:
        """True."""
        return True

    @abstractmethod
    def marginals(self) -> list[Marginal]:
        """Return the d one-dimensional marginals."""


class Gaussian(Factorized):
    """Gaussian with diagonal covariance, N(mean, diag(scale^2)).

    Args:
        dim: number of dimensions d.
        mean: one number, or one a dimension.
        scale: standard deviation, one number or one a dimension.

    Raises:
        InputError: a non-positive scale, or a sequence that is not d long.
    """

    def __init__(
        self, dim: int, mean: float | Sequence[float] = 0.0, scale: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__(dim)
        self.register_buffer("mean", self._vector("mean", mean))
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.mean: Tensor
        self.scale: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.mean + self.scale * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        mean, scale = self.mean.to(z), self.scale.to(z)
        standardised = (z - mean) / scale
        log_norm = scale.log().sum() + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * standardised.square().sum(1) - log_norm

    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments(self.mean, torch.diag(self.scale.square()))

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, scale_i^2)."""
        return one_each(NormalMarginal, self.mean, self.scale)


class Uniform(Factorized):
    """Uniform box, the product of U[low, high].

    Args:
        dim: number of dimensions d.
        low: lower ends, one number or one a dimension.
        high: upper ends, likewise.

    Raises:
        InputError: high not above low, or a sequence that is not d long.
    """

    def __init__(
        self, dim: int, low: float | Sequence[float] = -1.0, high: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__(dim)
        self._register_ends(low, high)
        self.low: Tensor
        self.high: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.low + (self.high - self.low) * self._uniform((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z; minus infinity outside the box."""
        low, high = self.low.to(z), self.high.to(z)
        inside = ((z >= low) & (z <= high)).all(1)
        return torch.where(inside, -(high - low).log().sum(), -math.inf)

    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments((self.low + self.high) / 2, torch.diag((self.high - self.low).square() / 12))

    def marginals(self) -> list[Marginal]:
        """Return U[low_i, high_i]."""
        return one_each(UniformMarginal, self.low, self.high)


class LocationScale(Factorized):
    """loc + scale X with independent standard X of one family.

    Args:
        dim: number of dimensions d.
        loc: centre, one number or one a dimension.
        scale: in units of the codes, one number or one a dimension.

    Raises:
        InputError: a non-positive scale, or a sequence that is not d long.
    """

    def __init__(
        self, dim: int, loc: float | Sequence[float] = 0.0, scale: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__(dim)
        self.register_buffer("loc", self._vector("loc", loc))
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.loc: Tensor
        self.scale: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; one beyond the largest number of the type is clamped to it."""
        largest = torch.finfo(self.dtype).max
        return (self.loc + self.scale * self._standard(n, generator)).clamp(-largest, largest)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        loc, scale = self.loc.to(z), self.scale.to(z)
        return (self._log_density((z - loc) / scale) - scale.log()).sum(1)

    def moments(self) -> Moments:
        """Mean and covariance.

        Raises:
            InputError: a variance that is infinite.
        """
        variance = self.scale.square() * self._variance()
        if not bool(torch.isfinite(variance).all()):
            raise InputError(f"{self._name}: the variance is infinite; use what does not need moments")
        return Moments(self.loc, torch.diag(variance))

    @abstractmethod
    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw (n, d) standard numbers."""

    @abstractmethod
    def _log_density(self, x: Tensor) -> Tensor:
        """Log-density of the standard family, entry by entry."""

    @abstractmethod
    def _variance(self) -> float | Tensor:
        """Variance of the standard family, one number or one a dimension."""


class Laplace(LocationScale):
    """Laplace, the product of exp(-|z - loc| / scale) / (2 scale); its variance is 2 scale^2.

    Args:
        dim: number of dimensions d.
        loc: centre, one number or one a dimension.
        scale: in units of the codes, one number or one a dimension.

    Raises:
        InputError: a non-positive scale, or a sequence that is not d long.
    """

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        size = -torch.log1p(-self._uniform((n, self.dim), generator))
        return size * self._signs((n, self.dim), generator)

    def _log_density(self, x: Tensor) -> Tensor:
        return -x.abs() - math.log(2)

    def _variance(self) -> float:
        return 2.0

    def marginals(self) -> list[Marginal]:
        """Return the Laplace distributions of the dimensions."""
        return one_each(LaplaceMarginal, self.loc, self.scale)


class Logistic(LocationScale):
    """Logistic, cdf 1 / (1 + exp(-(z - loc) / scale)) each; its variance is pi^2 scale^2 / 3.

    Args:
        dim: number of dimensions d.
        loc: centre, one number or one a dimension.
        scale: in units of the codes, one number or one a dimension.

    Raises:
        InputError: a non-positive scale, or a sequence that is not d long.
    """

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        # P(|X| <= x) = tanh(x / 2); a size below 1 stays finite where the logit of a zero would not.
        size = 2 * torch.atanh(self._uniform((n, self.dim), generator))
        return size * self._signs((n, self.dim), generator)

    def _log_density(self, x: Tensor) -> Tensor:
        return -x.abs() - 2 * softplus(-x.abs())

    def _variance(self) -> float:
        return math.pi**2 / 3

    def marginals(self) -> list[Marginal]:
        """Return the logistic distributions of the dimensions."""
        return one_each(LogisticMarginal, self.loc, self.scale)
