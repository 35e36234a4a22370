"""Marginals with a shape parameter: Student-t, Beta, generalised Gaussian.

Their characteristic functions are accurate to about 1e-12 for any argument: trapezoid sums on
logarithmic scales, where the integrands are analytic in a strip and the sums converge exponentially.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmdprior.priors.prior import Marginal
from mmdprior.priors.quadrature import expectation, trapezoid
from mmdprior.priors.special import beta_log_odds, gamma_log_quantile, log_beta_cdf

__all__ = ["BetaMarginal", "GeneralizedGaussianMarginal", "StudentTMarginal"]

_LARGEST = 690.0
"""Logarithm of a number that float64 still holds."""

_NEGLIGIBLE = 45.0
"""Nats below the mode at which an integrand is cut off: e^-45 is 3e-20."""


class _Shaped(Marginal):
    """A cdf without a formula that autograd could follow: its derivative is the density."""

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x; differentiable once."""
        exact = x.double()
        at = exact.detach()
        value = self._cdf(at)
        if exact.requires_grad:
            value = value + self._density(at) * (exact - at)
        return value.to(x)

    @abstractmethod
    def _cdf(self, x: Tensor) -> Tensor:
        """Probability of at most x, in float64."""

    @abstractmethod
    def _density(self, x: Tensor) -> Tensor:
        """Density at x, in float64."""


@dataclass(frozen=True)
class StudentTMarginal(_Shaped):
    """loc + scale T, T Student-t with df degrees of freedom."""

    df: float
    loc: float
    scale: float

    def _cdf(self, x: Tensor) -> Tensor:
        standardised = (x - self.loc) / self.scale
        log_odds = math.log(self.df) - 2 * standardised.abs().log()
        a, b = x.new_tensor(self.df / 2), x.new_tensor(0.5)
        tail = 0.5 * log_beta_cdf(a, b, log_odds).exp()
        return torch.where(standardised < 0, tail, 1 - tail)

    def _density(self, x: Tensor) -> Tensor:
        half = (self.df + 1) / 2
        norm = math.lgamma(half) - math.lgamma(self.df / 2) - 0.5 * math.log(math.pi * self.df)
        standardised = (x - self.loc) / self.scale
        return (norm - half * torch.log1p(standardised.square() / self.df)).exp() / self.scale

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        exact = u.double()
        tails, centre = 2 * torch.minimum(exact, 1 - exact), (2 * exact - 1).abs()
        log_odds = beta_log_odds(self.df / 2, 0.5, tails, centre)
        size = math.sqrt(self.df) * torch.exp(-log_odds / 2)
        return (self.loc + self.scale * torch.sign(exact - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t loc) E exp(-t^2 scale^2 / (2 g)), g ~ Gamma(df/2, df/2), summed over log g."""
        exact, a = t.double(), self.df / 2
        high = math.log1p(_NEGLIGIBLE / a) + 2
        nodes = trapezoid(-(_NEGLIGIBLE / a + 2), high, min(0.2, 0.5 / math.sqrt(a)), exact)
        weights = torch.softmax(a * (nodes - nodes.exp()), 0)
        half_squared = 0.5 * (exact * self.scale).square()
        size = expectation(lambda s, v: torch.exp(-s * torch.exp(-v)), half_squared, nodes, weights)
        return torch.polar(size, exact * self.loc)


@dataclass(frozen=True)
class BetaMarginal(_Shaped):
    """low + (high - low) B, B ~ Beta(alpha, beta)."""

    alpha: float
    beta: float
    low: float
    high: float

    def _cdf(self, x: Tensor) -> Tensor:
        log_odds = (x - self.low).clamp(min=0).log() - (self.high - x).clamp(min=0).log()
        return log_beta_cdf(x.new_tensor(self.alpha), x.new_tensor(self.beta), log_odds).exp()

    def _density(self, x: Tensor) -> Tensor:
        width, tiny = self.high - self.low, torch.finfo(x.dtype).tiny
        above, below = ((x - self.low) / width).clamp(min=tiny), ((self.high - x) / width).clamp(min=tiny)
        norm = math.lgamma(self.alpha) + math.lgamma(self.beta) - math.lgamma(self.alpha + self.beta)
        log_density = (self.alpha - 1) * above.log() + (self.beta - 1) * below.log() - norm
        return torch.where((x > self.low) & (x < self.high), log_density.exp() / width, 0.0)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        exact = u.double()
        share = torch.sigmoid(beta_log_odds(self.alpha, self.beta, exact, 1 - exact))
        return (self.low + (self.high - self.low) * share).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """E exp(i t x), summed over the log-odds of the share of the width."""
        exact, a, b = t.double(), self.alpha, self.beta
        width, mode, spread = self.high - self.low, math.log(a / b), math.sqrt(1 / a + 1 / b)
        phase = width * float(exact.abs().max()) if exact.numel() else 0.0
        low = mode - _NEGLIGIBLE / a - math.log1p(_NEGLIGIBLE / b) - 2
        high = mode + _NEGLIGIBLE / b + math.log1p(_NEGLIGIBLE / a) + 2
        # A phase narrows the strip, and turns in it like a wave of frequency width t / 4 at most.
        step = min(6 / (40 + 0.3 * phase), 2 * math.pi / (9 / spread + phase / 4))
        nodes = trapezoid(low, high, step, exact)
        weights = torch.softmax(a * logsigmoid(nodes) + b * logsigmoid(-nodes), 0)
        points = self.low + width * torch.sigmoid(nodes)
        return expectation(lambda s, x: torch.polar(torch.ones_like(s * x), s * x), exact, points, weights)


@dataclass(frozen=True)
class GeneralizedGaussianMarginal(_Shaped):
    """Density shape / (2 scale Gamma(1/shape)) exp(-|x - loc|^shape / scale^shape)."""

    shape: float
    loc: float
    scale: float

    def _cdf(self, x: Tensor) -> Tensor:
        standardised = (x - self.loc) / self.scale
        power = standardised.abs() ** self.shape
        tail = 0.5 * torch.special.gammaincc(torch.full_like(power, 1 / self.shape), power)
        return torch.where(standardised < 0, tail, 1 - tail)

    def _density(self, x: Tensor) -> Tensor:
        norm = math.log(self.shape / (2 * self.scale)) - math.lgamma(1 / self.shape)
        return (norm - ((x - self.loc) / self.scale).abs() ** self.shape).exp()

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        exact = u.double()
        tails, centre = 2 * torch.minimum(exact, 1 - exact), (2 * exact - 1).abs()
        size = torch.exp(gamma_log_quantile(1 / self.shape, centre, tails) / self.shape)
        return (self.loc + self.scale * torch.sign(exact - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """E exp(i t x), by the integral of exp(i s r - r^shape) over r on a ray in the complex plane.

        Between the angles 0 and min(pi, pi / (2 shape)) the integrand decays for every s > 0, so the sum
        over log r along the ray in their middle has the same accuracy at every t.
        """
        exact, shape = t.double(), self.shape
        angle = 0.5 * min(math.pi, math.pi / (2 * shape))
        high = 0.0
        for _ in range(8):  # a fixed point: the factor r of the integrand grows while the rest decays
            high = max(high, math.log((_NEGLIGIBLE + high) / math.cos(shape * angle)) / shape)
        log_r = trapezoid(-_NEGLIGIBLE, min(high, _LARGEST), 2 * math.pi * 0.9 * angle / 40, exact)
        ray = torch.polar(log_r.exp(), torch.full_like(log_r, angle))
        decay = torch.polar((shape * log_r).exp(), torch.full_like(log_r, shape * angle))
        weights = torch.exp(-decay) * ray * (log_r[1] - log_r[0])
        total = expectation(lambda s, r: torch.exp(1j * s * r), (exact * self.scale).abs(), ray, weights)
        size = total.real * math.exp(math.log(shape) - math.lgamma(1 / shape))
        return torch.polar(torch.ones_like(exact), exact * self.loc) * size
