"""Priors on spheres and balls, and sparse priors."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.arguments import positive_int, positive_number, unit_interval
from mmdprior.priors.marginals import AtomsMarginal, BetaMarginal, MixtureMarginal, NormalMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["Ball", "GroupSparse", "Sphere", "SpikeAndSlab"]


class Sphere(Prior):
    """The uniform distribution on the sphere |z| = radius in R^d; two points for d = 1.

    Each dimension is a symmetric Beta((d - 1) / 2) distribution on [-radius, radius], and the covariance is
    radius^2 / d I. There is no density in R^d.

    Args:
        dim: number of dimensions d.
        radius: radius of the sphere.

    Raises:
        InputError: the radius is not positive.

    Example:
        >>> from mmdprior.priors import Sphere
        >>> prior = Sphere(4, radius=2.0)
        >>> prior.sample(10).shape
        torch.Size([10, 4])
        >>> round(float(prior.sample(1).norm()), 4)
        2.0
    """

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__(dim)
        self.radius = positive_number("radius", radius)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.radius * _directions(self, n, generator)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return _isotropic(self, self.radius**2 / self.dim)

    @property
    def independent(self) -> bool:
        """Whether there is only one dimension."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the rescaled Beta distribution, the same for every dimension."""
        if self.dim == 1:
            ends = torch.tensor([-self.radius, self.radius], dtype=torch.float64)
            return [AtomsMarginal(ends, torch.full_like(ends, 0.5))]
        half = (self.dim - 1) / 2
        return [BetaMarginal(half, half, -self.radius, self.radius)] * self.dim


class Ball(Prior):
    """The uniform distribution in the ball |z| <= radius in R^d.

    Each dimension is a symmetric Beta((d + 1) / 2) distribution on [-radius, radius], and the covariance is
    radius^2 / (d + 2) I.

    Args:
        dim: number of dimensions d.
        radius: radius of the ball.

    Raises:
        InputError: the radius is not positive.

    Example:
        >>> from mmdprior.priors import Ball
        >>> prior = Ball(3, radius=2.0)
        >>> bool((prior.sample(100).norm(dim=1) < 2.001).all())
        True
        >>> round(float(prior.moments().covariance[0, 0]), 4)
        0.8
    """

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__(dim)
        self.radius = positive_number("radius", radius)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        # P(|z| <= r radius) = r^d, so the distance from the origin is radius u^(1/d).
        fraction = self._uniform((n, 1), generator) ** (1 / self.dim)
        return self.radius * fraction * _directions(self, n, generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z; minus infinity outside the ball."""
        # Volume of the unit ball: pi^(d/2) / Gamma(d/2 + 1), DLMF 5.19.4.
        log_unit = 0.5 * self.dim * math.log(math.pi) - math.lgamma(self.dim / 2 + 1)
        # In many dimensions most draws are close to the surface, and rounding may put them just outside.
        edge = self.radius * (1 + 8 * torch.finfo(z.dtype).eps)
        volume = log_unit + self.dim * math.log(self.radius)
        return torch.where(torch.linalg.vector_norm(z, dim=1) <= edge, -volume, -math.inf).to(z)

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return _isotropic(self, self.radius**2 / (self.dim + 2))

    @property
    def independent(self) -> bool:
        """Whether there is only one dimension."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the rescaled Beta distribution, the same for every dimension."""
        half = (self.dim + 1) / 2
        return [BetaMarginal(half, half, -self.radius, self.radius)] * self.dim


class GroupSparse(Prior):
    """Groups of dimensions that are active together, independently of the other groups.

    A group is active with the given probability. It is then N(0, scale^2 I). Otherwise it is
    N(0, noise^2 I), or exactly zero for noise 0. Dimensions within a group are uncorrelated but dependent.

    Args:
        dim: number of dimensions d.
        group_size: number of consecutive dimensions per group; divides d.
        probability: probability that a group is active.
        scale: standard deviation of an active group.
        noise: standard deviation of an inactive group.

    Raises:
        InputError: the group size does not divide d, the probability is outside [0, 1], the scale is not
            positive, or the noise is negative.

    Example:
        >>> from mmdprior.priors import GroupSparse
        >>> prior = GroupSparse(6, group_size=3, probability=0.25)
        >>> nonzero = prior.sample(100).unflatten(1, (2, 3)) != 0
        >>> bool((nonzero.all(2) == nonzero.any(2)).all())
        True
        >>> prior.moments().covariance[0, 0].item()
        0.25
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
        self.probability = unit_interval("probability", probability)
        self.scale = positive_number("scale", scale)
        self.noise = positive_number("noise", noise, allow_zero=True)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        active = self._uniform((n, self.dim // self.group_size), generator) < self.probability
        scales = self.noise + (self.scale - self.noise) * active.to(self.dtype)
        return scales.repeat_interleave(self.group_size, 1) * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z.

        Raises:
            InputError: noise is 0, so that inactive groups have no density.
        """
        if self.noise == 0:
            return super().log_prob(z)
        squared = z.unflatten(1, (-1, self.group_size)).square().sum(2)
        parts = [
            math.log(weight) - 0.5 * squared / scale**2 - self.group_size * math.log(scale)
            for weight, scale in self._states()
            if weight > 0
        ]
        log_norm = 0.5 * self.dim * math.log(2 * math.pi)
        return torch.logsumexp(torch.stack(parts), 0).sum(1) - log_norm

    def moments(self) -> Moments:
        """Return mean and covariance, a multiple of the identity."""
        return _isotropic(self, sum(weight * scale**2 for weight, scale in self._states()))

    @property
    def independent(self) -> bool:
        """Whether a group is one dimension."""
        return self.group_size == 1

    def marginals(self) -> list[Marginal]:
        """Return the mixture of the active and the inactive state, the same for every dimension."""
        weights = [weight for weight, _ in self._states()]
        parts = [_normal_or_zero(scale) for _, scale in self._states()]
        return [MixtureMarginal(weights, parts)] * self.dim

    def _states(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return probability and standard deviation of the active and the inactive state."""
        return (self.probability, self.scale), (1 - self.probability, self.noise)


class SpikeAndSlab(GroupSparse):
    """Sparse codes: each dimension is N(0, slab^2) with the given probability, and N(0, spike^2) otherwise.

    Args:
        dim: number of dimensions d.
        probability: probability of the slab.
        slab: standard deviation of the slab.
        spike: standard deviation of the spike. With 0 the spike is exactly zero, and there is no density.

    Raises:
        InputError: the probability is outside [0, 1], the slab is not positive, or the spike is negative.

    Example:
        >>> from mmdprior.priors import SpikeAndSlab
        >>> prior = SpikeAndSlab(3, probability=0.25, slab=2.0)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.moments().covariance.diagonal().tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, dim: int, probability: float = 0.5, slab: float = 1.0, spike: float = 0.0) -> None:
        slab, spike = positive_number("slab", slab), positive_number("spike", spike, allow_zero=True)
        super().__init__(dim, 1, probability, slab, spike)


def _directions(prior: Prior, n: int, generator: torch.Generator | None) -> Tensor:
    """Draw n vectors, uniform on the unit sphere."""
    if prior.dim == 1:
        return prior._signs((n, 1), generator)
    normal = prior._normal((n, prior.dim), generator)
    return torch.nn.functional.normalize(normal, eps=torch.finfo(prior.dtype).tiny)


def _isotropic(prior: Prior, variance: float) -> Moments:
    """Return mean zero and covariance variance I."""
    mean = prior._anchor.new_zeros(prior.dim)
    return Moments(mean, variance * torch.eye(prior.dim, dtype=prior.dtype, device=prior.device))


def _normal_or_zero(scale: float) -> Marginal:
    """Return N(0, scale^2), or the atom at zero for scale 0."""
    if scale > 0:
        return NormalMarginal(0.0, scale)
    return AtomsMarginal(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
