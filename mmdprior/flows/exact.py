"""Exact maps from N(0, I) to priors whose dimensions depend on one another."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection
from mmdprior.precision import in_float64
from mmdprior.priors.special import gamma_log_quantile, normal_cdf

__all__ = ["BallMap", "MixtureMap"]

_TAIL = 8.0
"""Normal deviate from which a map is linear."""

_ROUNDING = 2e-5
"""Largest error of the inverse that rounding z to float32 may cause."""


class MixtureMap(Bijection):
    """The triangular map from N(0, I) to a mixture of k Gaussians with diagonal covariances.

    Dimension after dimension, z_i = F_i^-1(Phi(g_i) | z_1, .., z_{i-1}), where F_i is the conditional
    distribution function, itself a mixture of k normal distributions (Rosenblatt, Ann. Math. Stat. 23, 1952).
    Beyond 8 standard deviations the map of a dimension is linear. The log-determinant has no gradient, and z
    has none either.

    Args:
        weights: probabilities, (k,).
        means: means, (k, d).
        scales: standard deviations, (k, d).

    Raises:
        InputError: the shapes disagree.

    Example:
        >>> import torch
        >>> from mmdprior.flows import MixtureMap
        >>> from mmdprior.priors import GaussianMixture
        >>> prior = GaussianMixture.ring(6)
        >>> g = torch.randn(5, 2)
        >>> map = MixtureMap(*prior.components())
        >>> bool((map.inverse(map(g)) - g).abs().max() < 1e-4)
        True
    """

    def __init__(
        self, weights: Float[Tensor, "k"], means: Float[Tensor, "k d"], scales: Float[Tensor, "k d"]
    ) -> None:
        if means.ndim != 2 or means.shape != scales.shape or weights.shape != means.shape[:1]:
            raise InputError(f"means: shape {tuple(means.shape)} received; give (k, d), as scales have")
        super().__init__(means.shape[1])
        self.register_buffer("weights", weights.detach().clone())
        self.register_buffer("means", means.detach().clone())
        self.register_buffer("scales", scales.detach().clone())
        self.weights: Tensor
        self.means: Tensor
        self.scales: Tensor

    @torch.no_grad()
    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and log N(g; 0, I) - log p(z)."""
        g = in_float64(h)
        conditionals = _Conditionals(self, len(g))
        z, log_det = torch.empty_like(g), g.new_zeros(len(g))
        for i in range(self.dim):
            z[:, i], log_slope = conditionals.forward(i, g[:, i])
            log_det += log_slope
            conditionals.observe(i, z[:, i])
        return z.to(h), log_det.to(h)

    @torch.no_grad()
    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return g_i = Phi^-1(F_i(z_i | z_1, .., z_{i-1}))."""
        exact = in_float64(z)
        conditionals = _Conditionals(self, len(exact))
        g = torch.empty_like(exact)
        for i in range(self.dim):
            g[:, i] = conditionals.inverse(i, exact[:, i])
            conditionals.observe(i, exact[:, i])
        return g.to(z)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the components."""
        tables = {"weights": self.weights, "means": self.means, "scales": self.scales}
        return {"name": "MixtureMap", **{name: table.tolist() for name, table in tables.items()}}


class _Conditionals:
    """Distribution functions of a mixture's next dimension, given the previous ones, one per row."""

    def __init__(self, mixture: MixtureMap, rows: int) -> None:
        self.means, self.scales = in_float64(mixture.means), in_float64(mixture.scales)
        self.log_weights = in_float64(mixture.weights).log().expand(rows, -1)

    def observe(self, i: int, z: Tensor) -> None:
        """Condition on the value of dimension i."""
        log_density = -0.5 * self._standardised(i, z).square() - self.scales[:, i].log()
        self.log_weights = torch.log_softmax(self.log_weights + log_density, 1)

    def forward(self, i: int, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return F_i^-1(Phi(g)) and the logarithm of its slope."""
        inside = g.clamp(-_TAIL, _TAIL)
        z = self._quantile(i, inside)
        slope = torch.exp(self._log_slope(i, inside, z))
        return z + slope * (g - inside), slope.log()

    def inverse(self, i: int, z: Tensor) -> Tensor:
        end = torch.full_like(z, _TAIL)
        low, high = self._quantile(i, -end), self._quantile(i, end)
        inside = torch.minimum(torch.maximum(z, low), high)
        lower, upper = self._tails(i, inside)
        g = torch.where(lower < upper, torch.special.ndtri(lower), -torch.special.ndtri(upper))
        g = g.clamp(-_TAIL, _TAIL)
        return g + (z - inside) / torch.exp(self._log_slope(i, g, inside))

    def _standardised(self, i: int, z: Tensor) -> Tensor:
        return (z[:, None] - self.means[:, i]) / self.scales[:, i]

    def _tails(self, i: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above z."""
        standardised, weights = self._standardised(i, z), self.log_weights.exp()
        below = (weights * normal_cdf(standardised)).sum(1)
        return below, (weights * normal_cdf(-standardised)).sum(1)

    def _quantile(self, i: int, g: Tensor) -> Tensor:
        """Solve F_i(z) = Phi(g) by bisection, with the smaller tail, which keeps its relative precision."""
        ends = self.means[:, i] + self.scales[:, i] * g[:, None]
        low, high = ends.amin(1), ends.amax(1)
        tail = normal_cdf(-g.abs())
        for _ in range(64):
            middle = low + (high - low) / 2
            below, above = self._tails(i, middle)
            too_high = torch.where(g < 0, below >= tail, above <= tail)
            low, high = torch.where(too_high, low, middle), torch.where(too_high, middle, high)
        return low + (high - low) / 2

    def _log_slope(self, i: int, g: Tensor, z: Tensor) -> Tensor:
        """Return log phi(g) - log f_i(z)."""
        log_parts = self.log_weights - 0.5 * self._standardised(i, z).square() - self.scales[:, i].log()
        return -0.5 * g.square() - torch.logsumexp(log_parts, 1)


class BallMap(Bijection):
    """The radial map from N(0, I) to the uniform distribution in a ball.

    |z| = radius P(|G| <= |g|)^(1/d), where G ~ N(0, I), and the direction is kept. Far out, where rounding z
    to float32 would change the inverse by more than 2e-5, the radius grows linearly, so a few codes are just
    outside the ball. The log-determinant and z have no gradient.

    Args:
        dim: number of dimensions d.
        radius: radius of the ball.

    Example:
        >>> import torch
        >>> from mmdprior.flows import BallMap
        >>> z = BallMap(3)(torch.randn(1000, 3))
        >>> bool((z.norm(dim=1) < 1.01).all())
        True
    """

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__(dim)
        self.radius = float(radius)
        start, mode = math.sqrt(dim), math.sqrt(dim)
        r = torch.linspace(start, mode + _TAIL, 201, dtype=torch.float64)
        value, log_slope = self._exact(r)
        accurate = value * 2.0**-24 <= _ROUNDING * log_slope.exp()
        last = max(int(accurate.cumprod(0).sum()) - 1, 0)
        self._end, self._value = float(r[last]), float(value[last])
        self._slope = float(log_slope[last].exp())

    @torch.no_grad()
    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and log d|z|/d|g| + (d - 1) log(|z| / |g|)."""
        g = in_float64(h)
        r = torch.linalg.vector_norm(g, dim=1).clamp(min=1e-100)
        inside = r.clamp(max=self._end)
        value, log_slope = self._exact(inside)
        value = value + self._slope * (r - inside)
        log_ratio = value.log() - r.log()
        return (g * log_ratio.exp()[:, None]).to(h), (log_slope + (self.dim - 1) * log_ratio).to(h)

    @torch.no_grad()
    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return g, along the same direction."""
        exact = in_float64(z)
        size = torch.linalg.vector_norm(exact, dim=1).clamp(min=1e-100)
        inside = size.clamp(max=self._value)
        log_p = self.dim * (inside / self.radius).log()
        # |g|^2 / 2 ~ Gamma(d / 2), so r = sqrt(2 y) with P(d / 2, y) = (|z| / radius)^d.
        log_y = gamma_log_quantile(self.dim / 2, log_p.exp(), -torch.expm1(log_p))
        r = torch.exp(0.5 * (math.log(2) + log_y)) + (size - inside) / self._slope
        return (exact * (r / size)[:, None]).to(z)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        return {"name": "BallMap", "dim": self.dim, "radius": self.radius}

    def _exact(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return radius P(|G| <= r)^(1/d), and the logarithm of its slope."""
        half = torch.full_like(r, self.dim / 2)
        y = r.square() / 2
        p = torch.special.gammainc(half, y)
        # For tiny y, log P = half log y - log Gamma(half + 1) (DLMF 8.7.1), where P itself underflows.
        series = half * y.log() - torch.lgamma(half + 1) - y
        log_p = torch.where(p > 1e-200, p.clamp(min=1e-300).log(), series)
        value = self.radius * torch.exp(log_p / self.dim)
        # dP/dr = 2 r y^(half-1) e^-y / (2 Gamma(half)), and dz/dr = z P' / (d P).
        log_density = half * y.log() - y - torch.lgamma(half) + math.log(2) - r.log()
        return value, value.log() - math.log(self.dim) + log_density - log_p
