"""One-dimensional distributions: what the dimensions of a prior look like one by one.

Parameters are Python floats or float64 tensors; results come in the type of the argument, computed in
float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mmdprior.priors.prior import Marginal
from mmdprior.priors.quadrature import expectation

__all__ = [
    "AffineMarginal",
    "AtomsMarginal",
    "LaplaceMarginal",
    "LogisticMarginal",
    "MixtureMarginal",
    "NormalMarginal",
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
