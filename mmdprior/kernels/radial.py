"""Kernels of the distance r = |x - y|: RBF, IMQ and their sums over scales, Laplacian, Matern, energy."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.bandwidth import Rule, check_bandwidth, median_of_prior, median_squared_distance
from mmdprior.kernels.distance import decay, squared_distance
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.quadrature import gamma_nodes
from mmdprior.priors import Prior, Uniform
from mmdprior.priors.arguments import is_number, positive_numbers

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
"""Rows of each sample whose distances give the bandwidth ``median_batch``."""
_WAE_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Radial(Kernel):
    """Base class of sums of a function of r^2 over one or several bandwidths.

    A subclass writes `profile`. A bandwidth is either a length l, for which a typical squared distance R
    gives l^2 = R / 2, or R itself.

    Args:
        name: name of the bandwidth argument, for errors and for the text form.
        bandwidth: a positive number, or a rule of `mmdprior.kernels.bandwidth`.
        factors: multiples of R; the kernel is the sum of one term per factor.

    Attributes:
        is_length: whether the bandwidth is a length.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        The kernel (1 + r^2 / R)^-2, which has no class of its own:

        >>> class InverseSquare(Radial):
        ...     is_length = False
        ...
        ...     def __init__(self, scale="sqrt_dim"):
        ...         super().__init__("scale", scale)
        ...
        ...     def profile(self, squared, bandwidth):
        ...         return (1 + squared / bandwidth) ** -2
        >>> InverseSquare(2.0)(torch.zeros(1, 2), torch.ones(1, 2))  # (1 + 2/2)^-2
        tensor([[0.2500]])
    """

    is_length: bool = True

    def __init__(self, name: str, bandwidth: float | Rule, factors: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self._name = name
        # The rule is kept next to the number that it gives, so that a bound kernel can be bound again.
        self._rule = check_bandwidth(name, bandwidth)
        self._bandwidth: float | Tensor | Rule = self._rule
        self.factors = positive_numbers("factors", factors)

    @abstractmethod
    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute the kernel at squared distances, for one bandwidth as a number."""

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute the profile at all squared distances, summed over the bandwidths."""
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
        """Return the bandwidths in d dimensions; None while they depend on a prior or a batch."""
        bandwidth = self._bandwidth
        if bandwidth == "sqrt_dim":
            bandwidth = self._from_typical(2.0 * dim)
        if isinstance(bandwidth, str):
            return None
        return [bandwidth * (math.sqrt(f) if self.is_length else f) for f in self.factors]

    def bind(self, prior: Prior) -> "Kernel":
        """Return the kernel with ``median_prior`` replaced by the prior's value."""
        if self._rule == "median_prior":
            return self._with_bandwidth(self._from_typical(median_of_prior(prior)))
        return self

    @property
    def adaptive(self) -> bool:
        """Whether the bandwidth depends on the batch."""
        return self._bandwidth == "median_batch"

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Return the kernel with ``median_batch`` replaced by the value of these samples."""
        if self.adaptive:
            pooled = torch.cat([x.detach()[:_MEDIAN_ROWS], y.detach()[:_MEDIAN_ROWS].to(x)])
            # Collapsed samples have median 0; its square root keeps r^2 / R finite.
            smallest = torch.finfo(pooled.dtype).tiny ** 0.5
            typical = median_squared_distance(pooled).clamp(min=smallest)
            return self._with_bandwidth(self._from_typical(typical))
        return self

    def _from_typical(self, typical: float | Tensor) -> float | Tensor:
        """Convert a typical squared distance R to this kernel's bandwidth."""
        return (typical / 2) ** 0.5 if self.is_length else typical

    def _with_bandwidth(self, bandwidth: float | Tensor) -> "Kernel":
        fixed = self._shallow_copy()
        fixed._bandwidth = bandwidth
        return fixed

    def extra_repr(self) -> str:
        """Show the bandwidth and the factors."""
        factors = "" if self.factors == [1.0] else f", factors={self.factors}"
        return f"{self._name}={self._bandwidth}{factors}"


class RBF(Radial):
    """Gaussian kernel, k = exp(-r^2 / (2 l^2)).

    Args:
        lengthscale: l, in units of the codes, or a rule. ``sqrt_dim``, the default, is l = sqrt(d).
        factors: multiples of l^2; the kernel is the sum of one RBF per factor.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> kernel = RBF(lengthscale=1.0)
        >>> kernel(torch.zeros(1, 2), torch.ones(1, 2)).round(decimals=4)  # exp(-1)
        tensor([[0.3679]])
    """

    def __init__(self, lengthscale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("lengthscale", lengthscale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute exp(-r^2 / (2 l^2))."""
        return decay(squared, 0.5 / bandwidth**2)

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return the kernel itself: weights 1 and l_j^2."""
        lengths = self.bandwidths(dim)
        if lengths is None:
            return None
        squared = torch.tensor([float(length) ** 2 for length in lengths], dtype=torch.float64)
        return torch.ones_like(squared), squared


class RationalQuadratic(Radial):
    """Rational quadratic kernel, k = (1 + r^2 / (2 a l^2))^-a: the mean of RBFs with Gamma distributed 1/l^2.

    Reference: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.19.

    Args:
        lengthscale: l, in units of the codes, or a rule.
        alpha: a. As a grows, the kernel approaches the RBF of the same l.
        factors: multiples of l^2; the kernel is the sum of one term per factor.

    Raises:
        InputError: a number that is not positive or out of range, or an unknown rule.

    Example:
        >>> kernel = RationalQuadratic(lengthscale=1.0, alpha=1.0)
        >>> kernel(torch.zeros(1, 2), torch.ones(1, 2))  # 1 / (1 + 2/2)
        tensor([[0.5000]])
    """

    def __init__(
        self,
        lengthscale: float | Rule = "sqrt_dim",
        alpha: float = 1.0,
        factors: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__("lengthscale", lengthscale, factors)
        if not is_number(alpha) or not 1e-3 <= alpha <= 1e6:
            raise InputError(f"alpha: {alpha} received; give a number from 0.001 to 1e6")
        self.alpha = alpha

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute (1 + r^2 / (2 a l^2))^-a."""
        return torch.exp(-self.alpha * torch.log1p(squared * (0.5 / (self.alpha * bandwidth**2))))

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l_j^2 = a l^2 / u_j, u ~ Gamma(a)."""
        lengths = self.bandwidths(dim)
        if lengths is None:
            return None
        return _gamma_mixture(self.alpha, [2 * self.alpha * float(v) ** 2 for v in lengths])


class IMQ(Radial):
    """Inverse multiquadric kernel, k = C / (C + r^2).

    Args:
        scale: C, in squared units of the codes, or a rule. ``sqrt_dim``, the default, is C = 2d.
        factors: multiples of C; the kernel is the sum of one term per factor.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> IMQ(scale=2.0)(torch.zeros(1, 2), torch.ones(1, 2))  # 2 / (2 + 2)
        tensor([[0.5000]])
    """

    is_length = False

    def __init__(self, scale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("scale", scale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute C / (C + r^2)."""
        return bandwidth / (bandwidth + squared)

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l_j^2 = C / (2 u_j), u ~ Exp(1)."""
        scales = self.bandwidths(dim)
        return None if scales is None else _gamma_mixture(1.0, [float(scale) for scale in scales])


class WAE_IMQ(IMQ):  # noqa: N801 - the name under which the field knows it
    """Sum of IMQ kernels over seven scales, sum_s s C / (s C + r^2) (WAE-MMD, arXiv 1711.01558).

    The published C is 2 d sigma^2 for a Gaussian prior and d for a uniform box [-1, 1]^d. For any other
    prior, C is the mean squared distance between two draws, 2 tr(Cov), which equals the published value for
    the Gaussian.

    Args:
        scale: C. ``"wae"``, the default, is the published value; it is set when the kernel is bound to
            its prior, and 2d before. Otherwise a number or a rule.
        factors: the scales s.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> from mmdprior.priors import Gaussian
        >>> WAE_IMQ().bind(Gaussian(8, scale=3.0)).bandwidths(8)[3]  # s = 1: 2 d sigma^2
        144.0
    """

    def __init__(self, scale: float | Rule | str = "wae", factors: Sequence[float] = _WAE_SCALES) -> None:
        self._published = scale == "wae"
        super().__init__("sqrt_dim" if self._published else scale, factors)  # type: ignore[arg-type]

    def bind(self, prior: Prior) -> "Kernel":
        """Return the kernel with C set by the prior."""
        if not self._published:
            return super().bind(prior)
        if isinstance(prior, Uniform):
            half_widths = (prior.high - prior.low) / 2
            return self._with_bandwidth(float(half_widths.square().sum()))
        try:
            typical = 2 * float(prior.moments().covariance.trace())
        except InputError:
            typical = 0.0
        return self._with_bandwidth(typical if typical > 0 else median_of_prior(prior))


def _gamma_mixture(alpha: float, scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return sum_C (1 + r^2 / C)^-alpha as RBFs: the mean of exp(-u r^2 / C) over u ~ Gamma(alpha)."""
    nodes, weights = gamma_nodes(alpha)
    squared = torch.tensor(scales, dtype=torch.float64)[:, None] / (2 * nodes)
    return weights.repeat(len(scales)), squared.flatten()


class Laplacian(Radial):
    """Laplacian kernel of the Euclidean distance, k = exp(-r / l): Matern of smoothness 1/2.

    Args:
        lengthscale: l, in units of the codes, or a rule. ``sqrt_dim``, the default, is l = sqrt(d).
        factors: multiples of l^2; the kernel is the sum of one term per factor.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> Laplacian(lengthscale=5.0)(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).round(decimals=4)
        tensor([[0.3679]])
    """

    def __init__(self, lengthscale: float | Rule = "sqrt_dim", factors: Sequence[float] = (1.0,)) -> None:
        super().__init__("lengthscale", lengthscale, factors)

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute exp(-r / l)."""
        return torch.exp(-_root(squared) / bandwidth)


class Matern32(Laplacian):
    """Matern kernel of smoothness 3/2, k = (1 + a) exp(-a) with a = sqrt(3) r / l.

    Reference: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17.

    Args:
        lengthscale: l, in units of the codes, or a rule. ``sqrt_dim``, the default, is l = sqrt(d).
        factors: multiples of l^2; the kernel is the sum of one term per factor.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> Matern32(lengthscale=3**0.5)(torch.zeros(1, 1), torch.ones(1, 1)).round(decimals=4)  # 2 exp(-1)
        tensor([[0.7358]])
    """

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute (1 + a) exp(-a)."""
        a = _root(squared * (3 / bandwidth**2))
        return (1 + a) * torch.exp(-a)


class Matern52(Laplacian):
    """Matern kernel of smoothness 5/2, k = (1 + a + a^2/3) exp(-a) with a = sqrt(5) r / l.

    Reference: Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17.

    Args:
        lengthscale: l, in units of the codes, or a rule. ``sqrt_dim``, the default, is l = sqrt(d).
        factors: multiples of l^2; the kernel is the sum of one term per factor.

    Raises:
        InputError: a number that is not positive, or an unknown rule.

    Example:
        >>> Matern52(lengthscale=5**0.5)(torch.zeros(1, 1), torch.ones(1, 1)).round(decimals=4)  # 7/3 exp(-1)
        tensor([[0.8584]])
    """

    def profile(self, squared: Float[Tensor, "n m"], bandwidth: float | Tensor) -> Tensor:
        """Compute (1 + a + a^2/3) exp(-a)."""
        a_squared = squared * (5 / bandwidth**2)
        a = _root(a_squared)
        return (1 + a + a_squared / 3) * torch.exp(-a)


class Energy(Kernel):
    """Distance-induced kernel, k = |x|^p + |y|^p - |x - y|^p, whose MMD^2 is the energy distance.

    MMD^2 = 2 E|z - y|^p - E|z - z'|^p - E|y - y'|^p (Sejdinovic et al., Annals of Statistics 41, 2013).
    There is no bandwidth to choose.

    Args:
        power: p, above 0 and below 2.

    Raises:
        InputError: a power out of range.

    Example:
        >>> Energy()(torch.tensor([[1.0]]), torch.tensor([[-2.0], [2.0]]))  # 1 + 2 - 3 and 1 + 2 - 1
        tensor([[0., 2.]])
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        if not is_number(power) or not 0 < power < 2:
            raise InputError(f"power: {power} received; give a number above 0 and below 2")
        self.power = power

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute |x|^p + |y|^p - |x - y|^p."""
        norms = self._power_of_root(x.square().sum(1))[:, None] + self._power_of_root(y.square().sum(1))
        return norms - self._power_of_root(squared_distance(x, y))

    def _power_of_root(self, squared: Tensor) -> Tensor:
        distance = _root(squared)
        return distance if self.power == 1.0 else _positive_power(distance, self.power)


def _root(squared: Tensor) -> Tensor:
    """Return the square root with gradient zero at zero, where a distance has none."""
    return _positive_power(squared, 0.5)


def _positive_power(value: Tensor, power: float) -> Tensor:
    """Return value^power, with value and gradient zero where value is zero.

    The inner `where` keeps the infinite derivative at zero out of the graph; masking only the result
    would multiply it by zero, which is NaN.
    """
    positive = value > 0
    safe = torch.where(positive, value, 1.0)
    return torch.where(positive, safe.sqrt() if power == 0.5 else safe**power, 0.0)
