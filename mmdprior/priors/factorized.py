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
    BetaMarginal,
    GeneralizedGaussianMarginal,
    LaplaceMarginal,
    LogisticMarginal,
    NormalMarginal,
    StudentTMarginal,
    UniformMarginal,
    one_each,
)
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.special import log_beta_function

__all__ = [
    "Beta",
    "Factorized",
    "Gaussian",
    "GeneralizedGaussian",
    "Laplace",
    "LocationScale",
    "Logistic",
    "StudentT",
    "Uniform",
]


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


class StudentT(LocationScale):
    """Student-t: loc + scale T, T with df degrees of freedom, independent over dimensions.

    The variance is scale^2 df / (df - 2), infinite for df <= 2.

    Args:
        dim: number of dimensions d.
        df: degrees of freedom, one number or one a dimension.
        loc: centre, likewise.
        scale: likewise.

    Raises:
        InputError: a non-positive df or scale, or a sequence that is not d long.
    """

    def __init__(
        self,
        dim: int,
        df: float | Sequence[float],
        loc: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim, loc, scale)
        self.register_buffer("df", self._vector("df", df, positive=True))
        self.df: Tensor

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Bailey's polar method (Math. Comp. 62, 1994): sqrt(df (u^(-2/df) - 1)) cos(2 pi v)."""
        exponent = -2 / self.df * torch.log1p(-self._uniform((n, self.dim), generator))
        # sqrt(expm1(e)) by halves: e^(e/2) overflows at twice the exponent that e^e does.
        size = torch.exp(exponent / 2) * torch.sqrt(-torch.expm1(-exponent))
        size = (self.df.sqrt() * size).clamp(max=torch.finfo(self.dtype).max)
        return size * torch.cos(2 * math.pi * self._uniform((n, self.dim), generator))

    def _log_density(self, x: Tensor) -> Tensor:
        df = self.df.to(x)
        log_norm = log_beta_function(df / 2, torch.full_like(df, 0.5)) + 0.5 * df.log()
        return -(df + 1) / 2 * torch.log1p(x.square() / df) - log_norm

    def _variance(self) -> Tensor:
        return torch.where(self.df > 2, self.df / (self.df - 2), math.inf)

    def marginals(self) -> list[Marginal]:
        """Return the Student-t distributions of the dimensions."""
        return one_each(StudentTMarginal, self.df, self.loc, self.scale)


class GeneralizedGaussian(LocationScale):
    """Density shape / (2 scale Gamma(1/shape)) exp(-|z - loc|^shape / scale^shape) per dimension.

    Shape 1 is Laplace, 2 Gaussian with standard deviation scale / sqrt(2), and large ones approach the
    uniform on [loc - scale, loc + scale]. The variance is scale^2 Gamma(3/shape) / Gamma(1/shape).

    Args:
        dim: number of dimensions d.
        shape: the exponent, one number or one a dimension.
        loc: centre, likewise.
        scale: likewise.

    Raises:
        InputError: a non-positive shape or scale, or a sequence that is not d long.
    """

    def __init__(
        self,
        dim: int,
        shape: float | Sequence[float],
        loc: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim, loc, scale)
        self.register_buffer("shape", self._vector("shape", shape, positive=True))
        self.shape: Tensor

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw G^(1/shape) U, G ~ Gamma(1 + 1/shape), U uniform on [-1, 1]: Khintchine's form."""
        inverse = 1 / self.shape
        width = _gamma(1 + inverse, n, generator) ** inverse
        centred = 2 * self._uniform((n, self.dim), generator) - 1
        return width.clamp(max=torch.finfo(self.dtype).max) * centred

    def _log_density(self, x: Tensor) -> Tensor:
        shape = self.shape.to(x)
        return (shape / 2).log() - torch.lgamma(1 / shape) - x.abs() ** shape

    def _variance(self) -> Tensor:
        return torch.exp(torch.lgamma(3 / self.shape) - torch.lgamma(1 / self.shape))

    def marginals(self) -> list[Marginal]:
        """Return the generalised Gaussian distributions of the dimensions."""
        return one_each(GeneralizedGaussianMarginal, self.shape, self.loc, self.scale)


class Beta(Factorized):
    """Beta on an interval: low + (high - low) B, B ~ Beta(alpha, beta), independent over dimensions.

    Args:
        dim: number of dimensions d.
        alpha: exponent at the lower end, one number or one a dimension.
        beta: exponent at the upper end, likewise.
        low: lower ends, likewise.
        high: upper ends, likewise.

    Raises:
        InputError: a non-positive alpha or beta, high not above low, or a sequence that is not d long.
    """

    def __init__(
        self,
        dim: int,
        alpha: float | Sequence[float],
        beta: float | Sequence[float],
        low: float | Sequence[float] = 0.0,
        high: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim)
        self.register_buffer("alpha", self._vector("alpha", alpha, positive=True))
        self.register_buffer("beta", self._vector("beta", beta, positive=True))
        self._register_ends(low, high)
        self.alpha: Tensor
        self.beta: Tensor
        self.low: Tensor
        self.high: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        # The share is a ratio of Gamma draws, whose logarithms do not underflow for small exponents.
        logs = [
            _gamma(1 + shape, n, generator).log()
            + torch.log1p(-self._uniform((n, self.dim), generator)) / shape
            for shape in (self.alpha, self.beta)
        ]
        return self.low + (self.high - self.low) * torch.sigmoid(logs[0] - logs[1])

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z; minus infinity outside.

        A number at an end of the interval is scored as its nearest neighbour inside, where the density
        is finite.
        """
        low, high, alpha, beta = (p.to(z) for p in (self.low, self.high, self.alpha, self.beta))
        width, info = high - low, torch.finfo(z.dtype)
        above = ((z - low) / width).clamp(min=info.tiny)
        below = ((high - z) / width).clamp(min=info.tiny)
        density = (alpha - 1) * above.log() + (beta - 1) * below.log() - log_beta_function(alpha, beta)
        inside = ((z >= low) & (z <= high)).all(1)
        return torch.where(inside, (density - width.log()).sum(1), -math.inf)

    def moments(self) -> Moments:
        """Mean and covariance."""
        total, width = self.alpha + self.beta, self.high - self.low
        variance = self.alpha * self.beta / (total.square() * (total + 1)) * width.square()
        return Moments(self.low + width * self.alpha / total, torch.diag(variance))

    def marginals(self) -> list[Marginal]:
        """Return the Beta distributions of the dimensions."""
        return one_each(BetaMarginal, self.alpha, self.beta, self.low, self.high)


def _gamma(shape: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Draw (n, d) Gamma(shape, 1) numbers where the generator lives; on the device of shape."""
    device = shape.device if generator is None else generator.device
    # The sampler behind torch.distributions.Gamma, which itself takes no generator.
    return torch._standard_gamma(shape.to(device).expand(n, -1), generator=generator).to(shape.device)
