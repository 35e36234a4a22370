"""Priors with structure: spheres and balls, sparse codes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.marginals import AtomsMarginal, BetaMarginal, MixtureMarginal, NormalMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior, number, positive_int, unit_number

__all__ = ["Ball", "GroupSparse", "Sphere", "SpikeAndSlab"]


class Sphere(Prior):
    """Uniform on the sphere |z| = radius in R^d; for d = 1 the two points -radius and radius.

    Every dimension is a symmetric Beta((d - 1) / 2) stretched to [-radius, radius]; the covariance is
    radius^2 / d I. There is no density in R^d.

    Args:
        dim: number of dimensions d.
        radius: of the sphere.

    Raises:
        InputError: a radius that is not positive.
    """

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__(dim)
        self.radius = number("radius", radius)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.radius * _directions(self, n, generator)

    def moments(self) -> Moments:
        """Mean and covariance."""
        return _isotropic(self, self.radius**2 / self.dim)

    @property
    def independent(self) -> bool:
        """Whether there is one dimension alone."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the stretched Beta distribution, the same for every dimension."""
        if self.dim == 1:
            ends = torch.tensor([-self.radius, self.radius], dtype=torch.float64)
            return [AtomsMarginal(ends, torch.full_like(ends, 0.5))]
        half = (self.dim - 1) / 2
        return [BetaMarginal(half, half, -self.radius, self.radius)] * self.dim


class Ball(Prior):
    """Uniform in the ball |z| <= radius in R^d.

    Every dimension is a symmetric Beta((d + 1) / 2) stretched to [-radius, radius]; the covariance is
    radius^2 / (d + 2) I.

    Args:
        dim: number of dimensions d.
        radius: of the ball.

    Raises:
        InputError: a radius that is not positive.
    """

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__(dim)
        self.radius = number("radius", radius)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        share = self._uniform((n, 1), generator) ** (1 / self.dim)
        return self.radius * share * _directions(self, n, generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z; minus infinity outside the ball."""
        log_unit = 0.5 * self.dim * math.log(math.pi) - math.lgamma(self.dim / 2 + 1)
        # In many dimensions draws lie at the surface, where rounding may put them just outside.
        edge = self.radius * (1 + 8 * torch.finfo(z.dtype).eps)
        volume = log_unit + self.dim * math.log(self.radius)
        return torch.where(torch.linalg.vector_norm(z, dim=1) <= edge, -volume, -math.inf).to(z)

    def moments(self) -> Moments:
        """Mean and covariance."""
        return _isotropic(self, self.radius**2 / (self.dim + 2))

    @property
    def independent(self) -> bool:
        """Whether there is one dimension alone."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the stretched Beta distribution, the same for every dimension."""
        half = (self.dim + 1) / 2
        return [BetaMarginal(half, half, -self.radius, self.radius)] * self.dim


class GroupSparse(Prior):
    """Groups of dimensions that are on or off together, independently of the other groups.

    A group is on with the given probability and then N(0, scale^2 I); off it is N(0, noise^2 I), or
    exactly zero without noise. Within a group the dimensions are uncorrelated but dependent.

    Args:
        dim: number of dimensions d.
        group_size: neighbouring dimensions in a group; divides d.
        probability: of a group to be on.
        scale: standard deviation of a group that is on.
        noise: standard deviation of a group that is off.

    Raises:
        InputError: a size that does not divide d, a probability outside [0, 1], a non-positive scale or
            a negative noise.
    """

    def __init__(
        self,
        dim: int,
        group_size: int,
        probability: float = 0.5,
        scale: float = 1.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__(dim)
        self.group_size = positive_int("group_size", group_size)
        if dim % group_size:
            raise InputError(f"group_size: {group_size} received; give a divisor of {dim} (dim)")
        self.probability = unit_number("probability", probability)
        self.scale = number("scale", scale)
        self.noise = number("noise", noise, zero=True)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        on = self._uniform((n, self.dim // self.group_size), generator) < self.probability
        scales = self.noise + (self.scale - self.noise) * on.to(self.dtype)
        return scales.repeat_interleave(self.group_size, 1) * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z.

        Raises:
            InputError: no noise, since groups that are off then have no density.
        """
        if self.noise == 0:
            return super().log_prob(z)
        squared = z.unflatten(1, (-1, self.group_size)).square().sum(2)
        parts = [
            math.log(weight) - 0.5 * squared / scale**2 - self.group_size * math.log(scale)
            for weight, scale in self._components()
            if weight > 0
        ]
        log_norm = 0.5 * self.dim * math.log(2 * math.pi)
        return torch.logsumexp(torch.stack(parts), 0).sum(1) - log_norm

    def moments(self) -> Moments:
        """Mean and covariance, a multiple of the identity."""
        return _isotropic(self, sum(weight * scale**2 for weight, scale in self._components()))

    @property
    def independent(self) -> bool:
        """Whether a group is one dimension."""
        return self.group_size == 1

    def marginals(self) -> list[Marginal]:
        """Return the mixture of on and off, the same for every dimension."""
        weights = [weight for weight, _ in self._components()]
        parts = [_normal_or_zero(scale) for _, scale in self._components()]
        return [MixtureMarginal(weights, parts)] * self.dim

    def _components(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return weight and standard deviation of on and off."""
        return (self.probability, self.scale), (1 - self.probability, self.noise)


class SpikeAndSlab(GroupSparse):
    """Sparse codes: each dimension is N(0, slab^2) with the given probability, else N(0, spike^2).

    Args:
        dim: number of dimensions d.
        probability: of the slab.
        slab: its standard deviation.
        spike: standard deviation of the spike; 0 for exact zeros (and then no density).

    Raises:
        InputError: a probability outside [0, 1], a non-positive slab or a negative spike.
    """

    def __init__(self, dim: int, probability: float = 0.5, slab: float = 1.0, spike: float = 0.0) -> None:
        slab, spike = number("slab", slab), number("spike", spike, zero=True)
        super().__init__(dim, 1, probability, slab, spike)


def _directions(prior: Prior, n: int, generator: torch.Generator | None) -> Tensor:
    """Draw n uniform unit vectors."""
    if prior.dim == 1:
        return prior._signs((n, 1), generator)
    normal = prior._normal((n, prior.dim), generator)
    return torch.nn.functional.normalize(normal, eps=torch.finfo(prior.dtype).tiny)


def _isotropic(prior: Prior, variance: float) -> Moments:
    mean = prior._anchor.new_zeros(prior.dim)
    return Moments(mean, variance * torch.eye(prior.dim, dtype=prior.dtype, device=prior.device))


def _normal_or_zero(scale: float) -> Marginal:
    if scale > 0:
        return NormalMarginal(0.0, scale)
    return AtomsMarginal(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
