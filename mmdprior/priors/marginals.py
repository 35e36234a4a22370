"""One-dimensional distributions: the marginals of the priors of this package.

Parameters are Python floats or float64 tensors. Results have the dtype of the argument and are computed in
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
from mmdprior.priors.special import (
    beta_log_odds,
    expectation,
    gamma_log_quantile,
    log_beta_cdf,
    normal_cdf,
    trapezoid,
)

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
    "group_equal",
    "per_dimension",
]

_LARGEST_LOG = 690.0
"""Logarithm of a number that float64 can hold: e^690 is 1e299."""

_NEGLIGIBLE = 45.0
"""Nats below its mode at which an integrand is cut off: e^-45 is 3e-20, below the rounding of the sum."""

_ROUNDING = 1e-14
"""Largest rounding error of a cumulative sum of probabilities."""


def per_dimension(marginal: Callable[..., Marginal], *parameters: Tensor) -> list[Marginal]:
    """Return marginal(a_i, b_i, ...) for every dimension i.

    Dimensions with equal parameters share one object, so that callers can group them.

    Args:
        marginal: class or function of the parameters of one dimension.
        *parameters: a, b, ..., each (d,).
    """
    rows = list(zip(*(parameter.tolist() for parameter in parameters), strict=True))
    by_row = {row: marginal(*row) for row in dict.fromkeys(rows)}
    return [by_row[row] for row in rows]


def group_equal(marginals: Sequence[Marginal]) -> list[tuple[Marginal, list[int]]]:
    """Return each distinct marginal with its dimensions, so that one call transforms all of them."""
    groups: list[tuple[Marginal, list[int]]] = []
    for i, marginal in enumerate(marginals):
        for other, columns in groups:
            if other == marginal:
                columns.append(i)
                break
        else:
            groups.append((marginal, [i]))
    return groups


@dataclass(frozen=True)
class NormalMarginal(Marginal):
    """The normal distribution N(mean, scale^2).

    Attributes:
        mean: mean.
        scale: standard deviation.
    """

    mean: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""
        return normal_cdf((x.double() - self.mean) / self.scale).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        return (self.mean + self.scale * torch.special.ndtri(u.double())).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t mean - t^2 scale^2 / 2)."""
        t = t.double()
        return torch.polar(torch.exp(-0.5 * (t * self.scale).square()), t * self.mean)


@dataclass(frozen=True)
class UniformMarginal(Marginal):
    """The uniform distribution on [low, high].

    Attributes:
        low: lower end.
        high: upper end.
    """

    low: float
    high: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""
        return ((x.double() - self.low) / (self.high - self.low)).clamp(0, 1).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        return (self.low + (self.high - self.low) * u.double()).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t m) sin(t h) / (t h), with the midpoint m and half the width h."""
        t = t.double()
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        phase = torch.polar(torch.ones_like(t), t * middle)
        return phase * torch.sinc(t * half / math.pi)


@dataclass(frozen=True)
class LaplaceMarginal(Marginal):
    """The Laplace distribution, with density exp(-|x - loc| / scale) / (2 scale).

    Attributes:
        loc: mean.
        scale: scale, the standard deviation divided by sqrt(2).
    """

    loc: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""
        standardised = (x.double() - self.loc) / self.scale
        tail = 0.5 * torch.exp(-standardised.abs())
        return torch.where(standardised < 0, tail, 1 - tail).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        u64 = u.double()
        size = -torch.log(2 * torch.minimum(u64, 1 - u64))
        return (self.loc + self.scale * torch.sign(u64 - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t loc) / (1 + t^2 scale^2)."""
        t = t.double()
        return torch.polar(1 / (1 + (t * self.scale).square()), t * self.loc)


@dataclass(frozen=True)
class LogisticMarginal(Marginal):
    """The logistic distribution, P(X <= x) = 1 / (1 + exp(-(x - loc) / scale)).

    Attributes:
        loc: mean.
        scale: scale, the standard deviation multiplied by sqrt(3) / pi.
    """

    loc: float
    scale: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""
        return torch.sigmoid((x.double() - self.loc) / self.scale).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        return (self.loc + self.scale * torch.logit(u.double())).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t loc) r / sinh(r), with r = pi scale t."""
        t = t.double()
        r = (math.pi * self.scale * t).abs()
        # 2 r e^-r / (1 - e^-2r) is r / sinh(r) without overflow; its limit at r = 0 is 1.
        size = torch.where(r > 0, -2 * r * torch.exp(-r) / torch.expm1(-2 * r), 1.0)
        return torch.polar(size, t * self.loc)


class _DensityGradientMarginal(Marginal):
    """Base of marginals whose cdf autograd cannot differentiate: its derivative is set to the density."""

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x), differentiable once."""
        x64 = x.double()
        point = x64.detach()
        value = self._cdf(point)
        if x64.requires_grad:
            # Adds zero, with the density as its gradient.
            value = value + self._density(point) * (x64 - point)
        return value.to(x)

    @abstractmethod
    def _cdf(self, x: Tensor) -> Tensor:
        """Return P(X <= x) for float64 x."""

    @abstractmethod
    def _density(self, x: Tensor) -> Tensor:
        """Return the density at float64 x."""


@dataclass(frozen=True)
class StudentTMarginal(_DensityGradientMarginal):
    """The distribution of loc + scale T, where T is Student-t with df degrees of freedom.

    Attributes:
        df: degrees of freedom, above 0.
        loc: centre.
        scale: scale.
    """

    df: float
    loc: float
    scale: float

    def _cdf(self, x: Tensor) -> Tensor:
        # P(|T| > t) = I_y(df / 2, 1 / 2) with y = df / (df + t^2), so the log-odds of y are log(df / t^2).
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
        """Return the smallest x with P(X <= x) >= u."""
        u64 = u.double()
        both_tails, centre = 2 * torch.minimum(u64, 1 - u64), (2 * u64 - 1).abs()
        log_odds = beta_log_odds(self.df / 2, 0.5, both_tails, centre)
        size = math.sqrt(self.df) * torch.exp(-log_odds / 2)
        return (self.loc + self.scale * torch.sign(u64 - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t loc) E exp(-t^2 scale^2 / (2 g)), where g ~ Gamma(df / 2, rate df / 2).

        T is N(0, 1 / g) given g. The expectation over g is a trapezoidal sum over v = log g.
        """
        t64, a = t.double(), self.df / 2
        # The density of v is proportional to exp(a (v - e^v)): it falls like e^(a v) to the left of the mode
        # v = 0 and doubly exponentially to the right. The largest spacing shrinks with its width 1 / sqrt(a).
        high = math.log1p(_NEGLIGIBLE / a) + 2
        nodes = trapezoid(-(_NEGLIGIBLE / a + 2), high, min(0.2, 0.5 / math.sqrt(a)), t64)
        weights = torch.softmax(a * (nodes - nodes.exp()), 0)
        half_squared = 0.5 * (t64 * self.scale).square()
        size = expectation(lambda s, v: torch.exp(-s * torch.exp(-v)), half_squared, nodes, weights)
        return torch.polar(size, t64 * self.loc)


@dataclass(frozen=True)
class BetaMarginal(_DensityGradientMarginal):
    """The distribution of low + (high - low) B, where B ~ Beta(alpha, beta).

    Attributes:
        alpha: shape parameter at the lower end, above 0.
        beta: shape parameter at the upper end, above 0.
        low: lower end.
        high: upper end.
    """

    alpha: float
    beta: float
    low: float
    high: float

    def _cdf(self, x: Tensor) -> Tensor:
        # Outside [low, high] the log-odds are minus or plus infinity, which gives 0 or 1.
        log_odds = (x - self.low).clamp(min=0).log() - (self.high - x).clamp(min=0).log()
        return log_beta_cdf(x.new_tensor(self.alpha), x.new_tensor(self.beta), log_odds).exp()

    def _density(self, x: Tensor) -> Tensor:
        width, tiny = self.high - self.low, torch.finfo(x.dtype).tiny
        above, below = ((x - self.low) / width).clamp(min=tiny), ((self.high - x) / width).clamp(min=tiny)
        norm = math.lgamma(self.alpha) + math.lgamma(self.beta) - math.lgamma(self.alpha + self.beta)
        log_density = (self.alpha - 1) * above.log() + (self.beta - 1) * below.log() - norm
        return torch.where((x > self.low) & (x < self.high), log_density.exp() / width, 0.0)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        u64 = u.double()
        fraction = torch.sigmoid(beta_log_odds(self.alpha, self.beta, u64, 1 - u64))
        return (self.low + (self.high - self.low) * fraction).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return E exp(i t x) by a trapezoidal sum over v, the log-odds of (x - low) / (high - low)."""
        t64, a, b = t.double(), self.alpha, self.beta
        # The density of v is proportional to sigmoid(v)^a sigmoid(-v)^b. Its mode is log(a / b), its tails
        # fall like e^(a v) and e^(-b v), and its width at the mode is sqrt(1 / a + 1 / b).
        width, mode, spread = self.high - self.low, math.log(a / b), math.sqrt(1 / a + 1 / b)
        phase = width * float(t64.abs().max()) if t64.numel() else 0.0
        low = mode - _NEGLIGIBLE / a - math.log1p(_NEGLIGIBLE / b) - 2
        high = mode + _NEGLIGIBLE / b + math.log1p(_NEGLIGIBLE / a) + 2
        # exp(i t x) narrows the strip in which the integrand stays bounded (first bound of the spacing), and
        # oscillates in v with frequency t width / 4 at most (second bound).
        step = min(6 / (40 + 0.3 * phase), 2 * math.pi / (9 / spread + phase / 4))
        nodes = trapezoid(low, high, step, t64)
        weights = torch.softmax(a * logsigmoid(nodes) + b * logsigmoid(-nodes), 0)
        points = self.low + width * torch.sigmoid(nodes)
        return expectation(_unit_phase, t64, points, weights)


@dataclass(frozen=True)
class GeneralizedGaussianMarginal(_DensityGradientMarginal):
    """The generalised Gaussian, with density proportional to exp(-|x - loc|^shape / scale^shape).

    Attributes:
        shape: exponent, above 0.
        loc: centre.
        scale: scale.
    """

    shape: float
    loc: float
    scale: float

    def _cdf(self, x: Tensor) -> Tensor:
        # |X - loc|^shape / scale^shape ~ Gamma(1 / shape, 1).
        standardised = (x - self.loc) / self.scale
        power = standardised.abs() ** self.shape
        tail = 0.5 * torch.special.gammaincc(torch.full_like(power, 1 / self.shape), power)
        return torch.where(standardised < 0, tail, 1 - tail)

    def _density(self, x: Tensor) -> Tensor:
        norm = math.log(self.shape / (2 * self.scale)) - math.lgamma(1 / self.shape)
        return (norm - ((x - self.loc) / self.scale).abs() ** self.shape).exp()

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u."""
        u64 = u.double()
        both_tails, centre = 2 * torch.minimum(u64, 1 - u64), (2 * u64 - 1).abs()
        size = torch.exp(gamma_log_quantile(1 / self.shape, centre, both_tails) / self.shape)
        return (self.loc + self.scale * torch.sign(u64 - 0.5) * size).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return E exp(i t x) by a trapezoidal sum along a ray in the complex plane.

        For loc 0, E exp(i t x) is the real part of the integral of exp(i s r - r^shape) over r > 0, divided
        by Gamma(1 + 1/shape), with s = |t| scale. The path is turned from the real line to a ray in the
        complex plane (Cauchy's theorem). At angles between 0 and min(pi, pi / (2 shape)) both exp(i s r) and
        exp(-r^shape) decay along the ray for every s > 0. A trapezoidal sum over log r along the ray in the
        middle has the same accuracy at every t.
        """
        t64, shape = t.double(), self.shape
        angle = 0.5 * min(math.pi, math.pi / (2 * shape))
        # Upper end of log r: there |r|^shape cos(shape angle), the decay in nats, has grown to _NEGLIGIBLE
        # plus log |r|, because of the factor r in dr = r d(log r). The fixed-point iteration converges within
        # eight rounds.
        high = 0.0
        for _ in range(8):
            high = max(high, math.log((_NEGLIGIBLE + high) / math.cos(shape * angle)) / shape)
        # The integrand is analytic in a strip of half-width `angle`, so the error is exp(-2 pi angle / step):
        # e^-44 at this spacing.
        log_r = trapezoid(-_NEGLIGIBLE, min(high, _LARGEST_LOG), 2 * math.pi * 0.9 * angle / 40, t64)
        ray = torch.polar(log_r.exp(), torch.full_like(log_r, angle))
        decay = torch.polar((shape * log_r).exp(), torch.full_like(log_r, shape * angle))
        weights = torch.exp(-decay) * ray * (log_r[1] - log_r[0])
        total = expectation(lambda s, r: torch.exp(1j * s * r), (t64 * self.scale).abs(), ray, weights)
        size = total.real * math.exp(math.log(shape) - math.lgamma(1 / shape))
        return torch.polar(torch.ones_like(t64), t64 * self.loc) * size


@dataclass(frozen=True, eq=False)
class AtomsMarginal(Marginal):
    """A distribution on finitely many values.

    Attributes:
        atoms: the values, (k,) float64 in ascending order.
        weights: their probabilities, (k,) float64.
    """

    atoms: Tensor
    weights: Tensor

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return P(X <= x), with the atoms rounded to the dtype of x."""
        count_below = torch.searchsorted(self.atoms.to(x), x.contiguous(), right=True)
        steps = torch.cat([self.weights.new_zeros(1), self._cumulative()])
        return steps.to(x)[count_below]

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest atom x with P(X <= x) >= u."""
        # Without the margin, a sum of weights that rounding made slightly too small would skip an atom.
        steps = self._cumulative().to(u.device) + _ROUNDING
        first = torch.searchsorted(steps, u.double().contiguous()).clamp(max=len(self.atoms) - 1)
        return self.atoms.to(u)[first]

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return sum_k w_k exp(i t x_k)."""
        t64 = t.double()
        return expectation(_unit_phase, t64, self.atoms.to(t64), self.weights.to(t64))

    def _cumulative(self) -> Tensor:
        return self.weights.cumsum(0).clamp(max=1)


@dataclass(frozen=True)
class MixtureMarginal(Marginal):
    """A mixture sum_k w_k p_k of other marginals.

    Attributes:
        weights: probabilities w_k of the parts.
        parts: the marginals p_k.
    """

    weights: Sequence[float]
    parts: Sequence[Marginal]

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""
        x64 = x.double()
        return self._weighted_sum([part.cdf(x64) for part in self.parts]).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u, by bisection between the quantiles of the parts."""
        u64 = u.double()
        quantiles = torch.stack([part.quantile(u64) for part in self.parts])
        return _bisect(self.cdf, u64, quantiles.amin(0), quantiles.amax(0)).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return the weighted sum of the characteristic functions of the parts."""
        return self._weighted_sum([part.characteristic(t) for part in self.parts])

    def _weighted_sum(self, values: list[Tensor]) -> Tensor:
        total = torch.zeros_like(values[0])
        for weight, value in zip(self.weights, values, strict=True):
            total = total + weight * value
        return total


@dataclass(frozen=True)
class AffineMarginal(Marginal):
    """The distribution of shift + factor X, for a continuous X.

    Attributes:
        base: distribution of X.
        factor: factor, not zero; a negative one reverses the order.
        shift: shift.
    """

    base: Marginal
    factor: float
    shift: float

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(shift + factor X <= x)."""
        below = self.base.cdf((x.double() - self.shift) / self.factor)
        return (below if self.factor > 0 else 1 - below).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(shift + factor X <= x) >= u."""
        u64 = u.double()
        base = self.base.quantile(u64 if self.factor > 0 else 1 - u64)
        return (self.shift + self.factor * base).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return exp(i t shift) times the characteristic function of X at factor t."""
        t = t.double()
        return torch.polar(torch.ones_like(t), t * self.shift) * self.base.characteristic(self.factor * t)


def _unit_phase(t: Tensor, x: Tensor) -> Tensor:
    """Return exp(i t x)."""
    return torch.polar(torch.ones_like(t * x), t * x)


def _bisect(cdf: Callable[[Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Solve cdf(x) = u for x in [low, high], entry by entry, to the last digits of float64.

    Where cdf(low) is at least u, low is returned. A quantile that is an atom is then met exactly.
    """
    high = torch.where(cdf(low) >= u, low, high)
    for _ in range(64):
        middle = low + (high - low) / 2
        above = cdf(middle) >= u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high
