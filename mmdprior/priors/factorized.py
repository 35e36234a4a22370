"""Priors whose dimensions are independent."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.marginals import NormalMarginal, UniformMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["Gaussian", "Uniform"]


class Gaussian(Prior):
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

    @property
    def independent(self) -> bool:
        """True."""
        return True

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, scale_i^2)."""
        return [NormalMarginal(*p) for p in zip(self.mean.tolist(), self.scale.tolist(), strict=True)]


class Uniform(Prior):
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
        self.register_buffer("low", self._vector("low", low))
        self.register_buffer("high", self._vector("high", high))
        self.low: Tensor
        self.high: Tensor
        if not bool((self.high > self.low).all()):
            raise InputError(f"high: {high} received; every entry must exceed low ({low})")

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

    @property
    def independent(self) -> bool:
        """True."""
        return True

    def marginals(self) -> list[Marginal]:
        """Return U[low_i, high_i]."""
        return [UniformMarginal(*p) for p in zip(self.low.tolist(), self.high.tolist(), strict=True)]
