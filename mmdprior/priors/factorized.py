"""Priors with independent, continuous dimensions."""

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
    StudentTMarginal,
    UniformMarginal,
    per_dimension,
)
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.special import log_beta_function

__all__ = [
    "Beta",
    "Factorized",
    "GeneralizedGaussian",
    "Laplace",
    "LocationScale",
    "Logistic",
    "StudentT",
    "Uniform",
]


class Factorized(Prior):
    """Base of priors with independent dimensions, which are defined by their marginals.

    Args:
        dim: number of dimensions d.

    Example:
        >>> from mmdprior.priors import Factorized, Laplace
        >>> prior = Laplace(3)
        >>> isinstance(prior, Factorized), prior.independent, len(prior.marginals())
        (True, True, 3)
    """

    @property
    def independent(self) -> bool:
        """True."""
        return True

    @abstractmethod
    def marginals(self) -> list[Marginal]:
        """Return the d one-dimensional marginals."""


class Uniform(Factorized):
    """The uniform distribution on a box, the product of U[low_i, high_i].

    Args:
        dim: number of dimensions d.
        low: lower ends, one number or one per dimension.
        high: upper ends, one number or one per dimension.

    Raises:
        InputError: high is not above low, or a sequence is not d long.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Uniform
        >>> prior = Uniform(2, low=0.0, high=[1.0, 4.0])
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.log_prob(torch.tensor([[0.5, 0.5], [2.0, 0.5]])).exp().tolist()
        [0.25, 0.0]
    """

    def __init__(
        self, dim: int, low: float | Sequence[float] = -1.0, high: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__(dim)
        self._register_interval(low, high)
        self.low: Tensor
        self.high: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.low + (self.high - self.low) * self._uniform((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z; minus infinity outside the box."""
        low, high = self.low.to(z), self.high.to(z)
        inside = ((z >= low) & (z <= high)).all(1)
        return torch.where(inside, -(high - low).log().sum(), -math.inf)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return Moments((self.low + self.high) / 2, torch.diag((self.high - self.low).square() / 12))

    def marginals(self) -> list[Marginal]:
        """Return U[low_i, high_i]."""
        return per_dimension(UniformMarginal, self.low, self.high)


class LocationScale(Factorized):
    """Base of families loc + scale X, where the entries of X are independent and standardised.

    Args:
        dim: number of dimensions d.
        loc: location, one number or one per dimension.
        scale: scale in units of the codes, one number or one per dimension.

    Raises:
        InputError: a scale is not positive, or a sequence is not d long.
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
        """Draw n points; draws beyond the largest number of the dtype are clamped to it."""
        largest = torch.finfo(self.dtype).max
        return (self.loc + self.scale * self._standard(n, generator)).clamp(-largest, largest)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        loc, scale = self.loc.to(z), self.scale.to(z)
        return (self._standard_log_density((z - loc) / scale) - scale.log()).sum(1)

    def moments(self) -> Moments:
        """Return mean and covariance.

        Raises:
            InputError: the variance is infinite.
        """
        variance = self.scale.square() * self._standard_variance()
        if not bool(torch.isfinite(variance).all()):
            raise InputError(f"{self._name}: the variance is infinite; use a method that needs no moments")
        return Moments(self.loc, torch.diag(variance))

    @abstractmethod
    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw an (n, d) tensor from the family with loc 0 and scale 1."""

    @abstractmethod
    def _standard_log_density(self, x: Tensor) -> Tensor:
        """Return the log-density at every entry of x for loc 0 and scale 1."""

    @abstractmethod
    def _standard_variance(self) -> float | Tensor:
        """Return the variance for scale 1, one number or one per dimension."""


class Laplace(LocationScale):
    """Independent Laplace distributions, with density exp(-|z - loc| / scale) / (2 scale) per dimension.

    The variance is 2 scale^2.

    Args:
        dim: number of dimensions d.
        loc: mean, one number or one per dimension.
        scale: scale in units of the codes, one number or one per dimension.

    Raises:
        InputError: a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Laplace
        >>> prior = Laplace(3, scale=2.0)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.moments().covariance.diagonal().tolist()
        [8.0, 8.0, 8.0]
    """

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        size = -torch.log1p(-self._uniform((n, self.dim), generator))
        return size * self._signs((n, self.dim), generator)

    def _standard_log_density(self, x: Tensor) -> Tensor:
        return -x.abs() - math.log(2)

    def _standard_variance(self) -> float:
        return 2.0

    def marginals(self) -> list[Marginal]:
        """Return the Laplace distribution of each dimension."""
        return per_dimension(LaplaceMarginal, self.loc, self.scale)


class Logistic(LocationScale):
    """Independent logistic distributions, P(Z <= z) = 1 / (1 + exp(-(z - loc) / scale)) per dimension.

    The variance is pi^2 scale^2 / 3.

    Args:
        dim: number of dimensions d.
        loc: mean, one number or one per dimension.
        scale: scale in units of the codes, one number or one per dimension.

    Raises:
        InputError: a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Logistic
        >>> prior = Logistic(2)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> round(float(prior.moments().covariance[0, 0]), 3)
        3.29
    """

    def _standard(self, n: int, generator: torch.Generator | None) -> Tensor:
        # P(|X| <= x) = tanh(x / 2). Drawing the magnitude keeps a uniform draw of 0 finite; its logit is not.
        size = 2 * torch.atanh(self._uniform((n, self.dim), generator))
        return size * self._signs((n, self.dim), generator)

    def _standard_log_density(self, x: Tensor) -> Tensor:
        return -x.abs() - 2 * softplus(-x.abs())

    def _standard_variance(self) -> float:
        return math.pi**2 / 3

    def marginals(self) -> list[Marginal]:
        """Return the logistic distribution of each dimension."""
        return per_dimension(LogisticMarginal, self.loc, self.scale)


class StudentT(LocationScale):
    """Independent Student-t distributions, loc + scale T with df degrees of freedom per dimension.

    The variance is scale^2 df / (df - 2), infinite for df <= 2.

    Args:
        dim: number of dimensions d.
        df: degrees of freedom, one number or one per dimension.
        loc: centre, one number or one per dimension.
        scale: scale in units of the codes, one number or one per dimension.

    Raises:
        InputError: df or a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import StudentT
        >>> prior = StudentT(2, df=4.0)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().covariance.diagonal().tolist()
        [2.0, 2.0]
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
        """Draw sqrt(df (u^(-2/df) - 1)) cos(2 pi v): Bailey's polar method (Math. Comp. 62, 1994)."""
        exponent = -2 / self.df * torch.log1p(-self._uniform((n, self.dim), generator))
        # sqrt(e^x - 1) = e^(x/2) sqrt(1 - e^-x), which overflows only at twice the x where e^x does.
        size = torch.exp(exponent / 2) * torch.sqrt(-torch.expm1(-exponent))
        size = (self.df.sqrt() * size).clamp(max=torch.finfo(self.dtype).max)
        return size * torch.cos(2 * math.pi * self._uniform((n, self.dim), generator))

    def _standard_log_density(self, x: Tensor) -> Tensor:
        df = self.df.to(x)
        log_norm = log_beta_function(df / 2, torch.full_like(df, 0.5)) + 0.5 * df.log()
        return -(df + 1) / 2 * torch.log1p(x.square() / df) - log_norm

    def _standard_variance(self) -> Tensor:
        return torch.where(self.df > 2, self.df / (self.df - 2), math.inf)

    def marginals(self) -> list[Marginal]:
        """Return the Student-t distribution of each dimension."""
        return per_dimension(StudentTMarginal, self.df, self.loc, self.scale)


class GeneralizedGaussian(LocationScale):
    """Independent generalised Gaussians: density proportional to exp(-|z - loc|^shape / scale^shape).

    The normaliser is shape / (2 scale Gamma(1/shape)) per dimension, and the variance is
    scale^2 Gamma(3/shape) / Gamma(1/shape). Shape 1 is Laplace, shape 2 is Gaussian with standard deviation
    scale / sqrt(2), and large shapes approach the uniform distribution on [loc - scale, loc + scale].

    Args:
        dim: number of dimensions d.
        shape: exponent, one number or one per dimension.
        loc: mean, one number or one per dimension.
        scale: scale in units of the codes, one number or one per dimension.

    Raises:
        InputError: a shape or scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import GeneralizedGaussian
        >>> prior = GeneralizedGaussian(2, shape=8.0)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> gaussian = GeneralizedGaussian(1, shape=2.0)
        >>> round(float(gaussian.moments().covariance), 4)
        0.5
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
        """Draw G^(1/shape) U, with G ~ Gamma(1 + 1/shape) and U uniform on [-1, 1].

        Khintchine's theorem: every unimodal symmetric distribution is such a scale mixture of uniforms.
        """
        inverse = 1 / self.shape
        width = _sample_gamma(1 + inverse, n, generator) ** inverse
        centred = 2 * self._uniform((n, self.dim), generator) - 1
        return width.clamp(max=torch.finfo(self.dtype).max) * centred

    def _standard_log_density(self, x: Tensor) -> Tensor:
        shape = self.shape.to(x)
        return (shape / 2).log() - torch.lgamma(1 / shape) - x.abs() ** shape

    def _standard_variance(self) -> Tensor:
        return torch.exp(torch.lgamma(3 / self.shape) - torch.lgamma(1 / self.shape))

    def marginals(self) -> list[Marginal]:
        """Return the generalised Gaussian distribution of each dimension."""
        return per_dimension(GeneralizedGaussianMarginal, self.shape, self.loc, self.scale)


class Beta(Factorized):
    """Independent Beta distributions on intervals: low + (high - low) B with B ~ Beta(alpha, beta).

    Args:
        dim: number of dimensions d.
        alpha: shape parameter at the lower end, one number or one per dimension.
        beta: shape parameter at the upper end, one number or one per dimension.
        low: lower ends, one number or one per dimension.
        high: upper ends, one number or one per dimension.

    Raises:
        InputError: alpha or beta is not positive, high is not above low, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Beta
        >>> prior = Beta(2, alpha=2.0, beta=2.0, low=-1.0)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().mean.tolist()
        [0.0, 0.0]
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
        self._register_interval(low, high)
        self.alpha: Tensor
        self.beta: Tensor
        self.low: Tensor
        self.high: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        # B = G_alpha / (G_alpha + G_beta) for independent Gamma draws, so its log-odds are log G_alpha -
        # log G_beta. Each is drawn as log G_{1 + shape} + log(u) / shape, which does not underflow for small
        # shapes as G itself does.
        log_gamma_alpha, log_gamma_beta = [
            _sample_gamma(1 + shape, n, generator).log()
            + torch.log1p(-self._uniform((n, self.dim), generator)) / shape
            for shape in (self.alpha, self.beta)
        ]
        return self.low + (self.high - self.low) * torch.sigmoid(log_gamma_alpha - log_gamma_beta)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z; minus infinity outside the intervals.

        The density can be infinite at an end of an interval. A number there is scored as if it were at a tiny
        distance inside.
        """
        low, high, alpha, beta = (p.to(z) for p in (self.low, self.high, self.alpha, self.beta))
        width, info = high - low, torch.finfo(z.dtype)
        above = ((z - low) / width).clamp(min=info.tiny)
        below = ((high - z) / width).clamp(min=info.tiny)
        density = (alpha - 1) * above.log() + (beta - 1) * below.log() - log_beta_function(alpha, beta)
        inside = ((z >= low) & (z <= high)).all(1)
        return torch.where(inside, (density - width.log()).sum(1), -math.inf)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        total, width = self.alpha + self.beta, self.high - self.low
        variance = self.alpha * self.beta / (total.square() * (total + 1)) * width.square()
        return Moments(self.low + width * self.alpha / total, torch.diag(variance))

    def marginals(self) -> list[Marginal]:
        """Return the Beta distribution of each dimension."""
        return per_dimension(BetaMarginal, self.alpha, self.beta, self.low, self.high)


def _sample_gamma(shape: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Draw an (n, d) tensor from Gamma(shape, 1); draw on the generator's device, return it on shape's."""
    device = shape.device if generator is None else generator.device
    # The sampler behind torch.distributions.Gamma, which itself accepts no generator.
    return torch._standard_gamma(shape.to(device).expand(n, -1), generator=generator).to(shape.device)
