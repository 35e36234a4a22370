"""Estimators of MMD^2 from a batch of codes and a prior, one value per term of the kernel."""

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels import Kernel
from mmdprior.kernels.embedding import Embedding
from mmdprior.priors.arguments import positive_int

__all__ = [
    "Biased",
    "Block",
    "ESTIMATORS",
    "Estimator",
    "EstimatorName",
    "FromFunction",
    "KnownPrior",
    "Unbiased",
    "as_estimator",
]

EstimatorName = Literal["unbiased", "biased", "known_prior", "block"]


class Estimator(ABC):
    """How MMD^2 = E k(z,z') - 2 E k(z,y) + E k(y,y') is estimated from codes z and prior draws y.

    Attributes:
        uses_draws: whether the estimator needs prior draws y.

    Example:
        The linear-time estimate of Gretton et al., JMLR 13, 2012, lemma 14, for n = m:

        >>> class Linear(Estimator):
        ...     def __call__(self, z, y, kernel):
        ...         def mean(a, b):
        ...             return kernel.parts(a, b).diagonal(dim1=-2, dim2=-1).mean(-1)
        ...         within = mean(z[::2], z[1::2]) + mean(y[::2], y[1::2])
        ...         return within - mean(z[::2], y[1::2]) - mean(z[1::2], y[::2])
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> MMD(Gaussian(2), estimator=Linear())(torch.randn(64, 2)).shape
        torch.Size([])
    """

    uses_draws: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "spread" in vars(cls) and "variance_factor" not in vars(cls):
            warnings.warn(
                f"{cls.__name__}.spread is now variance_factor; the next release ignores the old name",
                DeprecationWarning,
                stacklevel=2,
            )
            cls.variance_factor = vars(cls)["spread"]  # type: ignore[method-assign]

    @abstractmethod
    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every term of the kernel, unweighted.

        Args:
            z: codes.
            y: prior draws; None if ``uses_draws`` is False.
            kernel: bound to the prior and adapted to the samples.
        """

    def variance_factor(self, n: int, m: int) -> float:
        """Return the null variance of the estimate, divided by zeta = E kt(y, y')^2.

        zeta is computed by `mmdprior.kernels.null_variance`. By default this is the factor of two samples.

        Args:
            n: number of codes.
            m: number of prior draws.
        """
        return 2 / (n * (n - 1)) + 2 / (m * (m - 1)) + 4 / (n * m)


class Unbiased(Estimator):
    """U-statistic (Gretton et al., JMLR 13, 2012, lemma 6): off-diagonal means within, full mean across.

    It may be negative, so never take its root or logarithm.

    Example:
        >>> from mmdprior import mmd
        >>> from mmdprior.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> mmd(x, x, RBF(1.0), Unbiased()).round(decimals=4)  # exp(-1/2) - 1
        tensor(-0.3935)
    """

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every term."""
        y = _require_draws(y)
        within = kernel.means_within(z, unbiased=True) + kernel.means_within(y, unbiased=True)
        return within - 2 * kernel.means_across(z, y)


class Biased(Estimator):
    """V-statistic (Gretton et al., JMLR 13, 2012, eq. 5): full means.

    It is at least zero. Under the null its mean is (1/n + 1/m)(1 - E k) where k(x, x) = 1.

    Example:
        >>> from mmdprior import mmd
        >>> from mmdprior.kernels import RBF
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> bool(mmd(x, x, RBF(1.0), Biased()).abs() < 1e-6)
        True
    """

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every term."""
        y = _require_draws(y)
        within = kernel.means_within(z, unbiased=False) + kernel.means_within(y, unbiased=False)
        return within - 2 * kernel.means_across(z, y)


@dataclass
class KnownPrior(Estimator):
    """U-statistic with the prior's mean embedding instead of draws; unbiased.

    mean_{a != b} k(z_a, z_b) - (2/n) sum_a mu(z_a) + c. Its standard deviation under the null is half that of
    `Unbiased` at n = m.

    Args:
        embedding: mean embedding of the prior under the kernel.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> from mmdprior.kernels.embedding import embedding
        >>> from mmdprior.priors import Gaussian
        >>> estimator = KnownPrior(embedding(RBF(1.0), Gaussian(1)))
        >>> estimator(torch.tensor([[0.0], [1.0]]), None, RBF(1.0)).round(decimals=4)
        tensor([-0.0739])
    """

    embedding: Embedding
    uses_draws = False

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every term."""
        within = kernel.means_within(z, unbiased=True)
        return within - 2 * self.embedding.mean(z).mean(1) + self.embedding.energies_like(within)

    def variance_factor(self, n: int, m: int) -> float:
        """Return 2 / (n(n-1))."""
        return 2 / (n * (n - 1))


@dataclass
class Block(Estimator):
    """Mean of U-statistics of disjoint blocks of rows: linear in n, with more noise.

    Reference: Zaremba, Gretton & Blaschko, NeurIPS 2013.

    Args:
        size: rows per block, at least 2. The last rows are left out if they do not fill a block.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> MMD(Gaussian(2), estimator=Block(16))(torch.randn(64, 2)).shape
        torch.Size([])
    """

    size: int = 64

    def __post_init__(self) -> None:
        if positive_int("size", self.size) < 2:
            raise InputError(f"size: {self.size} received; a block needs at least 2 rows")

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every term."""
        y = _require_draws(y)
        size = min(self.size, z.shape[0], y.shape[0])
        pairs = [
            (a, b) for a, b in zip(z.split(size), y.split(size), strict=False) if len(a) == len(b) == size
        ]
        return torch.stack([Unbiased()(a, b, kernel) for a, b in pairs]).mean(0)

    def variance_factor(self, n: int, m: int) -> float:
        """Return the factor of one block, divided by the number of blocks."""
        size = min(self.size, n, m)
        return super().variance_factor(size, size) / (min(n, m) // size)


class FromFunction(Estimator):
    """An estimator from a function ``fn(z, y, kernel)`` that returns a 0-dim tensor.

    Args:
        fn: the function; y has as many prior draws as there are codes.
    """

    def __init__(self, fn: Callable[[Tensor, Tensor, Kernel], Tensor]) -> None:
        self.fn = fn

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the value of the function, as the only term."""
        value = self.fn(z, _require_draws(y), kernel)
        if not isinstance(value, Tensor) or value.shape != ():
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"estimator: {kind} returned; return a 0-dim tensor")
        return value[None]


ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {"unbiased": Unbiased, "biased": Biased, "block": Block}
"""Estimators that need only samples, by name."""


def as_estimator(estimator: object) -> Estimator:
    """Return an `Estimator` for a name of `ESTIMATORS`, an estimator, or a function of (z, y, kernel).

    Raises:
        InputError: any other object.
    """
    if isinstance(estimator, Estimator):
        return estimator
    if isinstance(estimator, str) and estimator in ESTIMATORS:
        return ESTIMATORS[estimator]()
    if callable(estimator) and not inspect.isclass(estimator):
        return FromFunction(estimator)
    known = ", ".join(sorted([*ESTIMATORS, "auto", "known_prior"]))
    raise InputError(
        f"estimator: {estimator!r} received; give one of {known}, or a function of (z, y, kernel)"
    )


def _require_draws(y: Tensor | None) -> Tensor:
    if y is None:
        raise InputError("estimator: no prior draws received; give y of shape (m, d)")
    return y
