"""Kernels of the distance itself: rougher at zero than those of its square, with heavier spectra."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.bandwidth import Rule, squared_distance
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.radial import Radial

__all__ = ["Energy", "Laplacian", "Matern32", "Matern52"]


class Laplacian(Radial):
    """Laplacian kernel of the Euclidean distance, k = exp(-r / l): Matern of smoothness 1/2.

    Args:
        lengthscale: l, in units of the codes, or a rule.
        factors: of l^2, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def __init__(self, lengthscale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("lengthscale", lengthscale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate exp(-r / l)."""
        return torch.exp(-root(squared) / bandwidth)


class Matern32(Laplacian):
    """Matern kernel of smoothness 3/2, k = (1 + a) exp(-a), a = sqrt(3) r / l.

    Reference: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17.

    Args:
        lengthscale: l, in units of the codes, or a rule.
        factors: of l^2, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate (1 + a) exp(-a)."""
        a = root(squared * (3 / bandwidth**2))
        return (1 + a) * torch.exp(-a)


class Matern52(Laplacian):
    """Matern kernel of smoothness 5/2, k = (1 + a + a^2/3) exp(-a), a = sqrt(5) r / l.

    Reference: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17.

    Args:
        lengthscale: l, in units of the codes, or a rule.
        factors: of l^2, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate (1 + a + a^2/3) exp(-a)."""
        scaled = squared * (5 / bandwidth**2)
        a = root(scaled)
        return (1 + a + scaled / 3) * torch.exp(-a)


class Energy(Kernel):
    """Distance-induced kernel, k = |x|^p + |y|^p - |x - y|^p; its MMD^2 is the energy distance.

    MMD^2 = 2 E|z - y|^p - E|z - z'|^p - E|y - y'|^p (Sejdinovic et al., Annals of Statistics 41, 2013).
    No bandwidth to choose.

    Args:
        power: p, in (0, 2).

    Raises:
        InputError: a power outside (0, 2).
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        if not 0 < power < 2:
            raise InputError(f"power: {power} received; give a number above 0 and below 2")
        self.power = power

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate |x|^p + |y|^p - |x - y|^p."""
        ends = self._power(x.square().sum(1))[:, None] + self._power(y.square().sum(1))
        return ends - self._power(squared_distance(x, y))

    def _power(self, squared: Tensor) -> Tensor:
        distance = root(squared)
        return distance if self.power == 1.0 else _where_positive(distance, self.power)


def root(squared: Tensor) -> Tensor:
    """Square root with gradient zero at zero, where a distance has none."""
    return _where_positive(squared, 0.5)


def _where_positive(value: Tensor, power: float) -> Tensor:
    positive = value > 0
    safe = torch.where(positive, value, 1.0)
    return torch.where(positive, safe.sqrt() if power == 0.5 else safe**power, 0.0)
