"""Kernels of the squared distance."""

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.bandwidth import (
    Rule,
    check,
    decay,
    median_of_prior,
    median_squared_distance,
    squared_distance,
)
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.quadrature import gamma_nodes
from mmdprior.priors import Prior, Uniform

__all__ = [
    "Energy",
    "IMQ",
    "Laplacian",
    "Matern32",
    "Matern52",
    "RBF",
    "Radial",
    "RationalQuadratic",
    "WAE_IMQ",
]

_MEDIAN_ROWS = 512
_WAE_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Radial(Kernel):
    """A sum of k(r^2 / R) over one or several bandwidths.

    Args:
        name: of the bandwidth argument, for errors.
        bandwidth: a number or a rule of `mmdprior.kernels.bandwidth`.
        factors: the typical squared distance R is multiplied by each of them and the kernels are
            added: a multi-scale kernel.

    Attributes:
        is_length: whether the bandwidth is a length l, R = 2 l^2, or R itself.
    """

    is_length: bool = True

    def __init__(self, name: str, bandwidth: float | Rule, factors: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self._name = name
        self._bandwidth: float | Tensor | Rule = check(name, bandwidth)
        self.factors = [float(factor) for factor in factors]
        if not self.factors or not all(0 < factor < math.inf for factor in self.factors):
            raise InputError(f"factors: {factors} received; give at least one positive number")

    @abstractmethod
    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate k at squared distances, for a resolved bandwidth."""

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate the profile on all squared distances, at every bandwidth."""
        bandwidths = self.bandwidths(x.shape[1])
        if bandwidths is None:
            raise InputError(
                f"{self._name}: {self._bandwidth!r} needs "
                + ("two samples; call kernel.adapt(x, y) first" if self.adaptive else "a prior")
                + ", or give a number"
            )
        squared = squared_distance(x, y)
        total = self.profile(squared, bandwidths[0])
        for bandwidth in bandwidths[1:]:
            total = total + self.profile(squared, bandwidth)
        return total

    def bandwidths(self, dim: int) -> list[float | Tensor] | None:
        """Return the bandwidths in d dimensions; None while a prior or a batch must decide them."""
        bandwidth = self._bandwidth
        if bandwidth == "sqrt_dim":
            bandwidth = self._resolve(2.0 * dim)
        if isinstance(bandwidth, str):
            return None
        return [bandwidth * (math.sqrt(f) if self.is_length else f) for f in self.factors]

    def bind(self, prior: Prior) -> "Kernel":
        """Fix a bandwidth that the prior decides."""
        if self._bandwidth == "median_prior":
            return self._with(self._resolve(median_of_prior(prior)))
        return self

    @property
    def adaptive(self) -> bool:
        """Whether the batch decides the bandwidth."""
        return self._bandwidth == "median_batch"

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Fix a bandwidth that the batch decides."""
        if self.adaptive:
            pooled = torch.cat([x.detach()[:_MEDIAN_ROWS], y.detach()[:_MEDIAN_ROWS].to(x)])
            smallest = torch.finfo(pooled.dtype).tiny ** 0.5
            return self._with(self._resolve(median_squared_distance(pooled).clamp(min=smallest)))
        return self

    def _resolve(self, typical: float | Tensor) -> float | Tensor:
        """Turn a typical squared distance into this kernel's bandwidth."""
        return (typical / 2) ** 0.5 if self.is_length else typical

    def _with(self, bandwidth: float | Tensor) -> "Kernel":
        fixed = copy.copy(self)
        fixed._bandwidth = bandwidth
        return fixed

    def extra_repr(self) -> str:
        """Show the bandwidth."""
        factors = "" if self.factors == [1.0] else f", factors={self.factors}"
        return f"{self._name}={self._bandwidth}{factors}"


class RBF(Radial):
    """Gaussian kernel, k = exp(-r^2 / (2 l^2)).

    Args:
        lengthscale: l, in units of the codes, or a rule. ``sqrt_dim`` is l = sqrt(d).
        factors: of l^2, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def __init__(self, lengthscale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("lengthscale", lengthscale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate exp(-r^2 / (2 l^2))."""
        return decay(squared, 0.5 / bandwidth**2)

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return the kernel itself."""
        lengths = self.bandwidths(dim)
        if lengths is None:
            return None
        squared = torch.tensor([float(length) ** 2 for length in lengths], dtype=torch.float64)
        return torch.ones_like(squared), squared


class RationalQuadratic(Radial):
    """Rational quadratic kernel, k = (1 + r^2 / (2 a l^2))^-a: RBFs whose 1/l^2 is Gamma distributed.

    Args:
        lengthscale: l, in units of the codes, or a rule.
        alpha: a; the kernel approaches the RBF of the same l as it grows.
        factors: of l^2, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def __init__(
        self,
        lengthscale: float | Rule = "sqrt_dim",
        alpha: float = 1.0,
        factors: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__("lengthscale", lengthscale, factors)
        if not 1e-3 <= alpha <= 1e6:
            raise InputError(f"alpha: {alpha} received; give a number from 0.001 to 1e6")
        self.alpha = alpha

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate (1 + r^2 / (2 a l^2))^-a."""
        return torch.exp(-self.alpha * torch.log1p(squared * (0.5 / (self.alpha * bandwidth**2))))

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l'^2 = a l^2 / u, u ~ Gamma(a)."""
        lengths = self.bandwidths(dim)
        return (
            None
            if lengths is None
            else _gamma_mixture(self.alpha, [2 * self.alpha * float(v) ** 2 for v in lengths])
        )


class IMQ(Radial):
    """Inverse multiquadric kernel, k = C / (C + r^2).

    Args:
        scale: C, in squared units of the codes, or a rule. ``sqrt_dim`` is C = 2d.
        factors: of C, for a sum over scales.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    is_length = False

    def __init__(self, scale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("scale", scale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Evaluate C / (C + r^2)."""
        return bandwidth / (bandwidth + squared)

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l^2 = C / (2u), u ~ Exp(1)."""
        scales = self.bandwidths(dim)
        return None if scales is None else _gamma_mixture(1.0, [float(scale) for scale in scales])


class WAE_IMQ(IMQ):  # noqa: N801 - the name under which the field knows it
    """Sum of IMQ kernels over seven scales, sum_s sC / (sC + r^2) (WAE-MMD, arXiv 1711.01558).

    The published C is 2 d sigma^2 for a Gaussian prior and d for a uniform box [-1, 1]^d; for any
    other prior C is the mean squared distance between two draws, 2 tr(Cov), which is the published
    value in the Gaussian case.

    Args:
        scale: C, or ``"wae"`` for the published value (set when the kernel is bound to its prior;
            2d when it is not), or another rule.
        factors: the scales s.

    Raises:
        InputError: a number that is not positive, or an unknown rule.
    """

    def __init__(self, scale: float | Rule | str = "wae", factors: Sequence[float] = _WAE_SCALES) -> None:
        self._published = scale == "wae"
        super().__init__("sqrt_dim" if self._published else scale, factors)  # type: ignore[arg-type]

    def bind(self, prior: Prior) -> "Kernel":
        """Fix C by the prior."""
        if not self._published:
            return super().bind(prior)
        if isinstance(prior, Uniform):
            half_widths = (prior.high - prior.low) / 2
            return self._with(float(half_widths.square().sum()))
        try:
            typical = 2 * float(prior.moments().covariance.trace())
        except InputError:
            typical = 0.0
        return self._with(typical if typical > 0 else median_of_prior(prior))


def _gamma_mixture(alpha: float, scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Write sum_C (1 + r^2/C)^-alpha as RBFs: the mean of exp(-u r^2/C) over u ~ Gamma(alpha)."""
    nodes, weights = gamma_nodes(alpha)
    squared = torch.tensor(scales, dtype=torch.float64)[:, None] / (2 * nodes)
    return weights.repeat(len(scales)), squared.flatten()


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
