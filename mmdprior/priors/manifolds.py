"""Curves and surfaces in two or three dimensions, for demonstrations.

Before noise, all are scaled so that the mean variance of the coordinates is one. The noise is a standard
deviation in the same units, and its variance is added to theirs.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.priors.prior import Moments, Prior

__all__ = ["Circle", "Pinwheel", "SwissRoll", "TwoMoons"]

_QUADRATURE_NODES = 64
"""Gauss-Legendre nodes for the moments of the spiral: exact to rounding."""


class _NoisyManifold(Prior):
    """Base of priors that draw points of a shape and add N(0, noise^2 I)."""

    def __init__(self, dim: int, noise: float) -> None:
        super().__init__(dim)
        self.noise = positive_number("noise", noise, allow_zero=True)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        points = self._points(n, generator)
        return points + self.noise * self._normal((n, self.dim), generator)

    def moments(self) -> Moments:
        """Return mean and covariance, noise included."""
        covariance = self._covariance() + self.noise**2 * torch.eye(self.dim, dtype=torch.float64)
        return Moments(self._anchor.new_zeros(self.dim), covariance.to(self._anchor))

    @abstractmethod
    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw n points without noise, with mean zero."""

    @abstractmethod
    def _covariance(self) -> Tensor:
        """Return the covariance without noise, in float64 on the CPU."""


class Circle(_NoisyManifold):
    """A circle around the origin, z = radius (cos a, sin a) + noise.

    Args:
        radius: radius of the circle; by default sqrt(2), which gives coordinates of variance one.
        noise: standard deviation of the noise.

    Raises:
        InputError: the radius is not positive, or the noise is negative.

    Example:
        >>> from mmdprior.priors import Circle
        >>> prior = Circle(radius=2.0, noise=0.0)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> round(float(prior.sample(1).norm()), 4)
        2.0
    """

    def __init__(self, radius: float = math.sqrt(2), noise: float = 0.1) -> None:
        super().__init__(2, noise)
        self.radius = positive_number("radius", radius)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z.

        With radius r and noise s the density is exp(-(|z|^2 + r^2) / (2 s^2)) I_0(|z| r / s^2) / (2 pi s^2).
        The modified Bessel function I_0 is the integral over the angle, DLMF 10.32.1.

        Raises:
            InputError: noise is 0, so that there is no density.
        """
        if self.noise == 0:
            return super().log_prob(z)
        variance, distance = self.noise**2, torch.linalg.vector_norm(z, dim=1)
        # i0e(x) = e^-x I_0(x) does not overflow, and e^x completes the square below.
        log_bessel = torch.special.i0e(distance * self.radius / variance).log()
        log_norm = math.log(2 * math.pi * variance)
        return -0.5 * (distance - self.radius).square() / variance + log_bessel - log_norm

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        angle = 2 * math.pi * self._uniform((n,), generator)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def _covariance(self) -> Tensor:
        return self.radius**2 / 2 * torch.eye(2, dtype=torch.float64)


# Half the difference of the means of the two half circles, (0, 2 / pi) and (1, 1/2 - 2 / pi).
_MOONS_OFFSET = torch.tensor([0.5, 0.25 - 2 / math.pi], dtype=torch.float64)
# Covariance of the unscaled moons: that within one half circle plus that between the two means.
_MOONS_COVARIANCE = torch.diag(torch.tensor([0.5, 0.5 - 4 / math.pi**2], dtype=torch.float64)) + torch.outer(
    _MOONS_OFFSET, _MOONS_OFFSET
)


class TwoMoons(_NoisyManifold):
    """Two interleaved half circles, (cos a, sin a) and (1 - cos a, 1/2 - sin a), centred and scaled.

    Args:
        noise: standard deviation of the noise; the scaled half circles have radius 1.42.

    Raises:
        InputError: the noise is negative.

    Example:
        >>> from mmdprior.priors import TwoMoons
        >>> TwoMoons(noise=0.05).sample(10).shape
        torch.Size([10, 2])
    """

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(2, noise)
        self._scale = 1 / math.sqrt(_MOONS_COVARIANCE.diagonal().mean())

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        angle, lower = math.pi * self._uniform((n,), generator), self._uniform((n,), generator) < 0.5
        x = torch.where(lower, 1 - angle.cos(), angle.cos()) - 0.5
        y = torch.where(lower, 0.5 - angle.sin(), angle.sin()) - 0.25
        return self._scale * torch.stack([x, y], 1)

    def _covariance(self) -> Tensor:
        return self._scale**2 * _MOONS_COVARIANCE


class Pinwheel(_NoisyManifold):
    """Curved arms around the origin (Johnson et al., arXiv 1603.06277, figure 1).

    A point of arm k is (1 + radial e1, tangential e2), with normal e1 and e2, rotated by the angle
    2 pi k / arms + rate exp(1 + radial e1). By symmetry the mean is zero. The scale makes the covariance the
    identity. The default constants are those of the paper.

    Args:
        arms: number of arms, at least 3.
        radial: standard deviation along an arm, before scaling.
        tangential: standard deviation across an arm, before scaling.
        rate: how strongly the arms bend.
        noise: standard deviation of the noise.

    Raises:
        InputError: there are fewer than 3 arms, or another argument is negative.

    Example:
        >>> from mmdprior.priors import Pinwheel
        >>> prior = Pinwheel(arms=3)
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().covariance.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
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
        # With two arms the covariance is not a multiple of the identity.
        if positive_int("arms", arms) < 3:
            raise InputError(f"arms: {arms} received; give at least 3")
        self.arms = arms
        self.radial = positive_number("radial", radial, allow_zero=True)
        self.tangential = positive_number("tangential", tangential, allow_zero=True)
        self.rate = positive_number("rate", rate, allow_zero=True)

    def _points(self, n: int, generator: torch.Generator | None) -> Tensor:
        spread = self._normal((n, 2), generator)
        along, across = 1 + self.radial * spread[:, 0], self.tangential * spread[:, 1]
        arm = (self.arms * self._uniform((n,), generator)).floor()
        angle = 2 * math.pi / self.arms * arm + self.rate * along.exp()
        x = along * angle.cos() - across * angle.sin()
        y = along * angle.sin() + across * angle.cos()
        # E |point|^2 = 1 + radial^2 + tangential^2 is shared equally by the two coordinates.
        scale = math.sqrt(2 / (1 + self.radial**2 + self.tangential**2))
        return scale * torch.stack([x, y], 1)

    def _covariance(self) -> Tensor:
        return torch.eye(2, dtype=torch.float64)


class SwissRoll(_NoisyManifold):
    """The spiral t (cos t, sin t), t uniform on [1.5 pi, 4.5 pi], centred and scaled; a rolled sheet in 3-D.

    Args:
        dim: 2 for the spiral; 3 for the sheet, whose second coordinate is uniform with variance one.
        noise: standard deviation of the noise.

    Raises:
        InputError: dim is not 2 or 3, or the noise is negative.

    Example:
        >>> from mmdprior.priors import SwissRoll
        >>> SwissRoll().sample(10).shape
        torch.Size([10, 2])
        >>> SwissRoll(3).sample(10).shape
        torch.Size([10, 3])
    """

    def __init__(self, dim: int = 2, noise: float = 0.05) -> None:
        super().__init__(dim, noise)
        if dim not in (2, 3):
            raise InputError(f"dim: {dim} received; a swiss roll has 2 or 3")
        nodes, weights = (
            torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(_QUADRATURE_NODES)
        )
        curve = _spiral(math.pi * (3 + 1.5 * nodes))  # nodes on [-1, 1] become t on [1.5 pi, 4.5 pi]
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
        spiral_dims = torch.tensor([0, self.dim - 1])
        spiral = torch.tensor(self._spiral_covariance, dtype=torch.float64)
        covariance[spiral_dims[:, None], spiral_dims] = spiral
        return covariance


def _spiral(t: Tensor) -> Tensor:
    return torch.stack([t * t.cos(), t * t.sin()], 1)
