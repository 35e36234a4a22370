"""One-dimensional distributions: what the dimensions of a prior look like one by one.

Parameters are Python floats or float64 tensors; results come in the type of the argument, computed in
float64.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmdprior.priors.prior import Marginal
from mmdprior.priors.special import beta_log_odds, expectation, gamma_log_quantile, log_beta_cdf, trapezoid

__all__ = [
    "AffineMarginal",
    "AtomsMarginal",
    "BetaMarginal",
    "GeneralizedGaussianMarginal",
    "LaplaceMarginal",
    "LogisticMarginal",
    "MixtureMarginal",
    "NormalMarginal",
    "StudentTMarginal",
    "UniformMarginal",
    "one_each",
]


@dataclass(frozen=True)
class NormalMarginal(Marginal):
    """N(mean, scale^2)."""

    mean: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        return torch.special.ndtr((x.double() - self.mean) / self.scale).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        return (self.mean + self.scale * torch.special.ndtri(u.double())).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t mean - t^2 scale^2 / 2)."""
        t = t.double()
        return torch.polar(torch.exp(-0.5 * (t * self.scale).square()), t * self.mean)


@dataclass(frozen=True)
class UniformMarginal(Marginal):
    """U[low, high]."""

    low: float
    high: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        return ((x.double() - self.low) / (self.high - self.low)).clamp(0, 1).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        return (self.low + (self.high - self.low) * u.double()).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t m) sin(t h) / (t h), m the middle and h half the width."""
        t = t.double()
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        phase = torch.polar(torch.ones_like(t), t * middle)
        return phase * torch.sinc(t * half / math.pi)


@dataclass(frozen=True)
class MixtureMarginal(Marginal):
    """sum_k w_k p_k of other marginals."""

    weights: Sequence[float]
    parts: Sequence[Marginal]

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        exact = x.double()
        return self._sum([part.cdf(exact) for part in self.parts]).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u, by bisection between the parts' quantiles."""
        exact = u.double()
        ends = torch.stack([part.quantile(exact) for part in self.parts])
        return bisect(self.cdf, exact, ends.amin(0), ends.amax(0)).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """The parts' characteristic functions, weighted."""
        return self._sum([part.characteristic(t) for part in self.parts])

    def _sum(self, values: list[Tensor]) -> Tensor:
        total = torch.zeros_like(values[0])
        for weight, value in zip(self.weights, values, strict=True):
            total = total + weight * value
        return total


@dataclass(frozen=True)
class LaplaceMarginal(Marginal):
    """Density exp(-|x - loc| / scale) / (2 scale)."""

    loc: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        standardised = (x.double() - self.loc) / self.scale
        tail = 0.5 * torch.exp(-standardised.abs())
        return torch.where(standardised < 0, tail, 1 - tail).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        exact = u.double()
        size = -torch.log(2 * torch.minimum(exact, 1 - exact))
        return (self.loc + self.scale * torch.sign(exact - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t loc) / (1 + t^2 scale^2)."""
        t = t.double()
        return torch.polar(1 / (1 + (t * self.scale).square()), t * self.loc)


@dataclass(frozen=True)
class LogisticMarginal(Marginal):
    """Cdf 1 / (1 + exp(-(x - loc) / scale))."""

    loc: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        return torch.sigmoid((x.double() - self.loc) / self.scale).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        return (self.loc + self.scale * torch.logit(u.double())).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t loc) r / sinh(r), r = pi scale t."""
        t = t.double()
        r = (math.pi * self.scale * t).abs()
        # r / sinh(r) without overflow; its limit at r = 0 is 1.
        size = torch.where(r > 0, -2 * r * torch.exp(-r) / torch.expm1(-2 * r), 1.0)
        return torch.polar(size, t * self.loc)


@dataclass(frozen=True, eq=False)
class AtomsMarginal(Marginal):
    """Finitely many atoms.

    Attributes:
        atoms: (k,) ascending float64.
        weights: (k,) float64, their probabilities.
    """

    atoms: Tensor
    weights: Tensor

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x; an atom is where it rounds to in the type of x."""
        below = torch.searchsorted(self.atoms.to(x), x.contiguous(), right=True)
        steps = torch.cat([self.weights.new_zeros(1), self._steps()])
        return steps.to(x)[below]

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest atom whose cdf is at least u."""
        # A sum of weights may fall short of its value by rounding; that must not skip an atom.
        steps = self._steps().to(u.device) + 1e-14
        first = torch.searchsorted(steps, u.double().contiguous()).clamp(max=len(self.atoms) - 1)
        return self.atoms.to(u)[first]

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """sum_k w_k exp(i t x_k)."""
        exact = t.double()
        atoms, weights = self.atoms.to(exact), self.weights.to(exact)
        return expectation(lambda s, x: torch.polar(torch.ones_like(s * x), s * x), exact, atoms, weights)

    def _steps(self) -> Tensor:
        return self.weights.cumsum(0).clamp(max=1)


@dataclass(frozen=True)
class AffineMarginal(Marginal):
    """shift + factor X for a continuous X and a factor other than zero."""

    base: Marginal
    factor: float
    shift: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""
        below = self.base.cdf((x.double() - self.shift) / self.factor)
        return (below if self.factor > 0 else 1 - below).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u."""
        exact = u.double()
        found = self.base.quantile(exact if self.factor > 0 else 1 - exact)
        return (self.shift + self.factor * found).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """exp(i t shift) times that of X at factor t."""
        t = t.double()
        return torch.polar(torch.ones_like(t), t * self.shift) * self.base.characteristic(self.factor * t)


def one_each(make: Callable[..., Marginal], *parameters: Tensor) -> list[Marginal]:
    """Return make(a_i, b_i, ...) for every dimension i; dimensions of equal parameters share one object."""
    rows = list(zip(*(parameter.tolist() for parameter in parameters), strict=True))
    made = {row: make(*row) for row in dict.fromkeys(rows)}
    return [made[row] for row in rows]


def bisect(cdf: Callable[[Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Solve cdf(x) = u for x in [low, high], entry by entry, to float64's last digits.

    Where cdf(low) is u or more already, low is returned: an atom there is hit exactly.
    """
    high = torch.where(cdf(low) >= u, low, high)
    for _ in range(64):
        middle = low + (high - low) / 2
        above = cdf(middle) >= u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high


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
