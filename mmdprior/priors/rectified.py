"""Generalised Gaussians cut off at zero: non-negative codes, of which many are exactly zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mmdprior.priors.factorized import GeneralizedGaussian
from mmdprior.priors.marginals import (
    AtomsMarginal,
    GeneralizedGaussianMarginal,
    MixtureMarginal,
    per_dimension,
)
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.special import expectation

__all__ = ["PositivePartMarginal", "Rectified"]

_NEGLIGIBLE = 40.0
"""Decay in nats at which a density counts as zero."""
_NODES = 160
"""Nodes per interval for a characteristic function at t = 0; oscillations need more."""


class Rectified(Prior):
    """max(0, X) for independent X with density proportional to exp(-|x - loc|^shape / (shape scale^shape)).

    It is the rectified generalised Gaussian of Rectified LpJEPA (arXiv 2602.01456). Shape 2 is N(loc,
    scale^2) before the cut, shape 1 is Laplace. The expected number of dimensions that are not zero is d P(X
    > 0), which is d Phi(loc / scale) at shape 2. There is no density.

    Args:
        dim: number of dimensions d.
        shape: exponent, one number or one per dimension.
        loc: centre before the cut, one number or one per dimension.
        scale: scale before the cut in units of the codes, one number or one per dimension.

    Raises:
        InputError: a shape or scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Rectified
        >>> prior = Rectified(3, loc=-1.0)
        >>> share = (prior.sample(10_000) > 0).float().mean()  # Phi(-1) = 0.159
        >>> round(float(share), 2)
        0.16
        >>> prior.independent
        True
    """

    def __init__(
        self,
        dim: int,
        shape: float | Sequence[float] = 2.0,
        loc: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(dim)
        self.register_buffer("shape", self._vector("shape", shape, positive=True))
        self.register_buffer("loc", self._vector("loc", loc))
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.shape: Tensor
        self.loc: Tensor
        self.scale: Tensor
        self._standard = GeneralizedGaussian(dim, shape)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        width = self.scale * self.shape ** (1 / self.shape)  # the density is exp(-|x / width|^shape)
        return (self.loc + width * self._standard.sample(n, generator)).clamp(min=0)

    @property
    def independent(self) -> bool:
        """True."""
        return True

    def moments(self) -> Moments:
        """Return mean and covariance."""
        parameters = zip(self.shape.tolist(), self.loc.tolist(), self.scale.tolist(), strict=True)
        moments = torch.tensor([_positive_part(*entry).mean_and_variance() for entry in parameters])
        return Moments(moments[:, 0].to(self.loc), torch.diag(moments[:, 1]).to(self.loc))

    def marginals(self) -> list[Marginal]:
        """Return the mixture of the atom at zero and of X given X > 0 of each dimension."""
        return per_dimension(_rectified, self.shape, self.loc, self.scale)


def _positive_part(shape: float, loc: float, scale: float) -> "PositivePartMarginal":
    return PositivePartMarginal(GeneralizedGaussianMarginal(shape, loc, scale * shape ** (1 / shape)))


def _rectified(shape: float, loc: float, scale: float) -> Marginal:
    positive = _positive_part(shape, loc, scale)
    zero = AtomsMarginal(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    share = positive.probability
    return MixtureMarginal([1 - share, share], [zero, positive]) if 0 < share < 1 else positive


@dataclass(frozen=True)
class PositivePartMarginal(Marginal):
    """The distribution of X given X > 0, for a generalised Gaussian X.

    Attributes:
        base: distribution of X.
    """

    base: GeneralizedGaussianMarginal

    @property
    def probability(self) -> float:
        """P(X > 0)."""
        return float(1 - self.base.cdf(torch.zeros((), dtype=torch.float64)))

    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x given X > 0)."""
        share = self.probability
        below = ((self.base.cdf(x.double()) - (1 - share)) / share).clamp(min=0)
        return torch.where(x > 0, below, 0.0).to(x)

    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x given X > 0) >= u."""
        share = self.probability
        return self.base.quantile(1 - share + share * u.double()).clamp(min=0).to(u)

    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return E exp(i t X) given X > 0, by quadrature."""
        t64 = t.double()
        nodes, weights = self._density_nodes(float(t64.abs().max()) if t64.numel() else 0.0)
        nodes, weights = nodes.to(t64.device), weights.to(t64.device)
        phases = expectation(lambda s, x: torch.polar(torch.ones_like(s * x), s * x), t64, nodes, weights)
        return phases / weights.sum()

    def mean_and_variance(self) -> tuple[float, float]:
        """Return mean and variance of max(0, X)."""
        nodes, weights = self._density_nodes(0.0)
        mean = float(weights @ nodes)
        return mean, float(weights @ nodes.square()) - mean**2

    def _density_nodes(self, largest_t: float) -> tuple[Tensor, Tensor]:
        """Return nodes x > 0, and weights for integrals of functions times the density.

        The density is smooth on both sides of loc, where it may have a cusp. Tanh-sinh quadrature is accurate
        on each side, also with a singular derivative at an end (Takahasi & Mori, Publications of RIMS 9,
        1974).
        """
        base = self.base
        reach = base.scale * _NEGLIGIBLE ** (1 / base.shape)
        ends = [0.0, base.loc, base.loc + reach] if base.loc > 0 else [0.0, base.loc + reach]
        ends = [max(end, base.loc - reach) for end in ends]
        if ends[-1] <= 0:  # X > 0 has no probability in float64
            return torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        parts = [
            _tanh_sinh(low, high, _NODES + 2 * math.ceil(largest_t * (high - low)))
            for low, high in pairwise(ends)
            if high > low
        ]
        nodes, weights = (torch.cat(part) for part in zip(*parts, strict=True))
        return nodes, weights * base._density(nodes)


def _tanh_sinh(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the tanh-sinh rule on an interval."""
    u = torch.linspace(-3.2, 3.2, count, dtype=torch.float64)
    inner = math.pi / 2 * u.sinh()
    half = (high - low) / 2
    # 1 - tanh(|inner|) without cancellation: nodes close to an end keep their distance from it.
    gap = 2 * half * torch.sigmoid(-2 * inner.abs())
    nodes = torch.where(u < 0, low + gap, high - gap)
    weights = (u[1] - u[0]) * half * math.pi / 2 * u.cosh() / inner.cosh().square()
    return nodes, weights
