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

__all__ = ["MixtureMarginal", "NormalMarginal", "UniformMarginal"]


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


def bisect(cdf: Callable[[Tensor], Tensor], u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Solve cdf(x) = u for x in [low, high], entry by entry, to float64's last digits."""
    for _ in range(64):
        middle = low + (high - low) / 2
        above = cdf(middle) >= u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high
