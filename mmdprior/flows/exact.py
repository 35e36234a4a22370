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

_ROUNDS, _RESIDUAL = 100, 1e-15
"""Most iterations for a quantile, and the relative residual or step at which it has converged."""

_ROUNDING = 2e-5
"""Largest error of the inverse that rounding z to float32 may cause."""


class MixtureMap(Bijection):
    """The triangular map from N(0, I) to a mixture of k Gaussians with diagonal covariances.

    Dimension after dimension, z_i = F_i^-1(Phi(g_i) | z_1, .., z_{i-1}), where F_i is the conditional
    distribution function, itself a mixture of k normal distributions (Rosenblatt, Ann. Math. Stat. 23, 1952).
    Beyond 8 standard deviations the map of a dimension is linear.

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

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return z, and log N(g; 0, I) - log p(z)."""
        conditionals = _Conditionals(self, len(h))
        columns, log_slopes = [], []
        for i, g in enumerate(in_float64(h).unbind(1)):
            z, log_slope = conditionals.forward(i, g)
            columns.append(z)
            log_slopes.append(log_slope)
            conditionals.observe(i, z)
        return torch.stack(columns, 1).to(h), torch.stack(log_slopes).sum(0).to(h)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return g_i = Phi^-1(F_i(z_i | z_1, .., z_{i-1}))."""
        conditionals = _Conditionals(self, len(z))
        columns = []
        for i, column in enumerate(in_float64(z).unbind(1)):
            columns.append(conditionals.inverse(i, column))
            conditionals.observe(i, column)
        return torch.stack(columns, 1).to(z)

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
        log_slope = self._log_slope(i, inside, z)
        return z + log_slope.exp() * (g - inside), log_slope

    def inverse(self, i: int, z: Tensor) -> Tensor:
        """Return Phi^-1(F_i(z))."""
        end = torch.full_like(z, _TAIL)
        low, high = self._quantile(i, -end), self._quantile(i, end)
        inside = torch.minimum(torch.maximum(z, low), high)
        below, above = self._tails(i, inside)
        sign = torch.where(below < above, 1.0, -1.0).to(z)
        g = (sign * torch.special.ndtri(torch.minimum(below, above))).clamp(-_TAIL, _TAIL)
        return g + (z - inside) / self._log_slope(i, g, inside).exp()

    def _standardised(self, i: int, z: Tensor) -> Tensor:
        return (z[:, None] - self.means[:, i]) / self.scales[:, i]

    def _tails(self, i: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above z."""
        standardised, weights = self._standardised(i, z), self.log_weights.exp()
        below = (weights * normal_cdf(standardised)).sum(1)
        return below, (weights * normal_cdf(-standardised)).sum(1)

    def _quantile(self, i: int, g: Tensor) -> Tensor:
        """Solve F_i(z) = Phi(g); the result is differentiable.

        Both sides are tails beyond the median on the side of g, which keep their relative precision.
        """
        z = self._solve(i, g.detach())
        if not (torch.is_grad_enabled() and (g.requires_grad or self.log_weights.requires_grad)):
            return z
        # Implicit differentiation: this adds zero, with the derivative of the solution as its gradient.
        sign = torch.where(g < 0, 1.0, -1.0).to(g)
        excess = self._tail(i, z, g) - normal_cdf(sign * g)
        correction = -sign * excess / self._log_density(i, z).exp().detach()
        return z + correction - correction.detach()

    @torch.no_grad()
    def _solve(self, i: int, g: Tensor) -> Tensor:
        """Newton's method on the logarithm of the tail, with bisection where a step leaves the bracket."""
        ends = self.means[:, i] + self.scales[:, i] * g[:, None]
        low, high = ends.amin(1), ends.amax(1)
        sign = torch.where(g < 0, 1.0, -1.0).to(g)  # the lower tail rises with z, the upper one falls
        target = normal_cdf(sign * g).log()
        z = low + (high - low) / 2
        for _ in range(_ROUNDS):
            log_tail = self._tail(i, z, g).clamp(min=1e-300).log()
            excess = sign * (log_tail - target)
            low, high = torch.where(excess > 0, low, z), torch.where(excess > 0, z, high)
            newton = z - excess * (log_tail - self._log_density(i, z)).exp()
            middle = low + (high - low) / 2
            following = torch.where((newton > low) & (newton < high), newton, middle)
            done = (excess.abs() <= _RESIDUAL) | ((following - z).abs() <= _RESIDUAL * (1 + z.abs()))
            z = torch.where(done, z, following)
            if bool(done.all()):
                break
        return z

    def _tail(self, i: int, z: Tensor, g: Tensor) -> Tensor:
        """Return the probability below z where g is negative, and above z elsewhere."""
        return torch.where(g < 0, *self._tails(i, z))

    def _log_density(self, i: int, z: Tensor) -> Tensor:
        log_parts = self.log_weights - 0.5 * self._standardised(i, z).square() - self.scales[:, i].log()
        return torch.logsumexp(log_parts, 1) - 0.5 * math.log(2 * math.pi)

    def _log_slope(self, i: int, g: Tensor, z: Tensor) -> Tensor:
        """Return log phi(g) - log f_i(z)."""
        return -0.5 * (g.square() + math.log(2 * math.pi)) - self._log_density(i, z)


class BallMap(Bijection):
    """The radial map from N(0, I) to the uniform distribution in a ball.

    |z| = radius P(|G| <= |g|)^(1/d), where G ~ N(0, I), and the direction is kept. Far out, where rounding z
    to float32 would change the inverse by more than 2e-5, the radius grows linearly, so a few codes are just
    outside the ball.

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
