"""Curves and surfaces in two or three dimensions, for demonstration.

All are scaled so that the mean variance of the coordinates is one before noise; the noise is a standard
deviation in the same units, and its variance adds to theirs.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.prior import Moments, Prior, number, positive_int

__all__ = ["Circle", "Pinwheel", "SwissRoll", "TwoMoons"]


class _Noisy(Prior):
    """Points of a shape plus N(0, noise^2 I)."""

    def __init__(self, dim: int, noise: float) -> None:
        super().__init__(dim)
        self.noise = number("noise", noise, zero=True)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        points = self._points(n, generator)
        return points + self.noise * self._normal((n, self.dim), generator)

    def moments(self) -> Moments:
        """Mean and covariance, noise included."""
        covariance = self._covariance() + self.noise**2 * torch.eye(self.dim, dtype=torch.float64)
        return Moments(self._anchor.new_zeros(self.dim), covariance.to(self._anchor))

    @abstractmethod
    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw n centred points without noise."""

    @abstractmethod
    def _covariance(self) -> Tensor:
        """Covariance of these, in float64 on the CPU."""


class Circle(_Noisy):
    """Circle around the origin, z = radius (cos a, sin a) + noise.

    Args:
        radius: of the circle; the default gives coordinates of variance one.
        noise: standard deviation around it.

    Raises:
        InputError: a radius that is not positive, or a negative noise.
    """

    def __init__(self, radius: float = math.sqrt(2), noise: float = 0.1) -> None:
        super().__init__(2, noise)
        self.radius = number("radius", radius)

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        angle = 2 * math.pi * self._uniform((n,), generator)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats: exp(-(|z|^2 + r^2) / (2 s^2)) I_0(|z| r / s^2) / (2 pi s^2), s the noise.

        Raises:
            InputError: no noise, since a curve has no density.
        """
        if self.noise == 0:
            return super().log_prob(z)
        variance, distance = self.noise**2, torch.linalg.vector_norm(z, dim=1)
        log_bessel = torch.special.i0e(distance * self.radius / variance).log()
        log_norm = math.log(2 * math.pi * variance)
        return -0.5 * (distance - self.radius).square() / variance + log_bessel - log_norm

    def _covariance(self) -> Tensor:
        return self.radius**2 / 2 * torch.eye(2, dtype=torch.float64)


class TwoMoons(_Noisy):
    """Two interleaved half circles, (cos a, sin a) and (1 - cos a, 1/2 - sin a), centred and scaled.

    Args:
        noise: standard deviation around them, where the half circles have radius 1.42.

    Raises:
        InputError: a negative noise.
    """

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(2, noise)
        self._scale = 1 / math.sqrt(_MOONS.diagonal().mean())

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        angle, lower = math.pi * self._uniform((n,), generator), self._uniform((n,), generator) < 0.5
        x = torch.where(lower, 1 - angle.cos(), angle.cos()) - 0.5
        y = torch.where(lower, 0.5 - angle.sin(), angle.sin()) - 0.25
        return self._scale * torch.stack([x, y], 1)

    def _covariance(self) -> Tensor:
        return self._scale**2 * _MOONS


_BETWEEN = torch.tensor([0.5, 0.25 - 2 / math.pi], dtype=torch.float64)
_MOONS = torch.diag(torch.tensor([0.5, 0.5 - 4 / math.pi**2], dtype=torch.float64)) + torch.outer(
    _BETWEEN, _BETWEEN
)
"""Covariance of the unscaled moons: within one half circle, and between their means."""


class Pinwheel(_Noisy):
    """Curved arms: (1 + radial e1, tangential e2) turned by 2 pi k / arms + rate exp(1 + radial e1).

    By symmetry the mean is zero, and the scale makes the covariance the identity (Johnson et al.,
    arXiv 1603.06277, figure 1, with their constants as defaults).

    Args:
        arms: number of arms, at least 3.
        radial: spread along an arm.
        tangential: spread across it.
        rate: how far arms bend.
        noise: standard deviation around them.

    Raises:
        InputError: fewer than 3 arms, or a negative spread or noise.
    """

    def __init__(
        self,
        arms: int = 5,
        radial: float = 0.3,
        tangential: float = 0.05,
        rate: float = 0.25,
        noise: float = 0.0,
    ) -> None:
        super().__init__(2, noise)
        if positive_int("arms", arms) < 3:
            raise InputError(f"arms: {arms} received; give at least 3")
        self.arms = arms
        self.radial = number("radial", radial, zero=True)
        self.tangential = number("tangential", tangential, zero=True)
        self.rate = number("rate", rate, zero=True)
        self._scale = math.sqrt(2 / (1 + self.radial**2 + self.tangential**2))

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        spread = self._normal((n, 2), generator)
        along, across = 1 + self.radial * spread[:, 0], self.tangential * spread[:, 1]
        arm = (self.arms * self._uniform((n,), generator)).floor()
        angle = 2 * math.pi / self.arms * arm + self.rate * along.exp()
        x = along * angle.cos() - across * angle.sin()
        y = along * angle.sin() + across * angle.cos()
        return self._scale * torch.stack([x, y], 1)

    def _covariance(self) -> Tensor:
        return torch.eye(2, dtype=torch.float64)


class SwissRoll(_Noisy):
    """Spiral t (cos t, sin t), t uniform on [1.5 pi, 4.5 pi], centred and scaled; rolled up in 3-D.

    Args:
        dim: 2 for the spiral; 3 for the sheet, whose second coordinate is uniform with variance one.
        noise: standard deviation around it.

    Raises:
        InputError: another dim, or a negative noise.
    """

    def __init__(self, dim: int = 2, noise: float = 0.05) -> None:
        super().__init__(dim, noise)
        if dim not in (2, 3):
            raise InputError(f"dim: {dim} received; a swiss roll has 2 or 3")
        nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(64))
        curve = _spiral(math.pi * (3 + 1.5 * nodes))
        mean = (weights / 2) @ curve
        covariance = (curve - mean).T @ ((weights / 2)[:, None] * (curve - mean))
        variance = float(covariance.diagonal().mean())
        self._scale, self._mean = 1 / math.sqrt(variance), mean.tolist()
        self._spiral_covariance = (covariance / variance).tolist()

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        curve = _spiral(1.5 * math.pi * (1 + 2 * self._uniform((n,), generator)))
        x, y = (self._scale * (curve - curve.new_tensor(self._mean))).unbind(1)
        if self.dim == 2:
            return torch.stack([x, y], 1)
        height = math.sqrt(3) * (2 * self._uniform((n,), generator) - 1)
        return torch.stack([x, height, y], 1)

    def _covariance(self) -> Tensor:
        covariance = torch.eye(self.dim, dtype=torch.float64)
        places = torch.tensor([0, self.dim - 1])
        covariance[places[:, None], places] = torch.tensor(self._spiral_covariance, dtype=torch.float64)
        return covariance


def _spiral(t: Tensor) -> Tensor:
    return torch.stack([t * t.cos(), t * t.sin()], 1)
