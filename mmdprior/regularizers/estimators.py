"""Estimators of MMD^2 from a batch of codes and a prior, part by part of the kernel."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels import Kernel
from mmdprior.kernels.embedding import Embedding

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
    """How the three means E k(z,z') - 2 E k(z,y) + E k(y,y') are estimated.

    Attributes:
        uses_draws: whether prior draws y are needed.
    """

    uses_draws: bool = True

    @abstractmethod
    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every part of the kernel; they are weighted and added elsewhere."""

    def spread(self, n: int, m: int) -> float:
        """Return (sd under the null)^2 / E kt^2 for n codes and m draws; see `null_variance`."""
        return 2 / (n * (n - 1)) + 2 / (m * (m - 1)) + 4 / (n * m)


class Unbiased(Estimator):
    """U-statistic (Gretton et al., JMLR 13, 2012, lemma 6): off-diagonal means within, the full mean across.

    May be negative: take neither root nor logarithm.
    """

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every part."""
        y = _needed(y)
        within = kernel.means_within(z, unbiased=True) + kernel.means_within(y, unbiased=True)
        return within - 2 * kernel.means_across(z, y)


class Biased(Estimator):
    """V-statistic (Gretton et al., JMLR 13, 2012, eq. 5): full means.

    At least zero, and under the null too large by (1/n + 1/m)(1 - E k) where k(x, x) = 1.
    """

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every part."""
        y = _needed(y)
        within = kernel.means_within(z, unbiased=False) + kernel.means_within(y, unbiased=False)
        return within - 2 * kernel.means_across(z, y)


@dataclass
class KnownPrior(Estimator):
    """The prior by its mean embedding in place of draws: mean_{a!=b} k(z_a,z_b) - (2/n) sum mu(z_a) + c.

    Half the standard deviation of `Unbiased` at n = m, and unbiased too.

    Args:
        embedding: of the prior under the kernel.
    """

    embedding: Embedding
    uses_draws = False

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every part."""
        within = kernel.means_within(z, unbiased=True)
        return within - 2 * self.embedding.mean(z).mean(1) + self.embedding.energies.to(within)

    def spread(self, n: int, m: int) -> float:
        """Return 2 / (n(n-1))."""
        return 2 / (n * (n - 1))


@dataclass
class Block(Estimator):
    """Mean of U-statistics over disjoint blocks of rows: linear in n, and noisier (Zaremba et al., 2013).

    Args:
        size: rows a block, at least 2; rows that fill no block are left out.
    """

    size: int = 64

    def __post_init__(self) -> None:
        if self.size < 2:
            raise InputError(f"size: {self.size} received; a block needs at least 2 rows")

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return the estimate of every part."""
        y = _needed(y)
        size = min(self.size, len(z), len(y))
        pairs = [
            (a, b) for a, b in zip(z.split(size), y.split(size), strict=False) if len(a) == len(b) == size
        ]
        return torch.stack([Unbiased()(a, b, kernel) for a, b in pairs]).mean(0)

    def spread(self, n: int, m: int) -> float:
        """Return that of a block over the number of blocks."""
        size = min(self.size, n, m)
        return super().spread(size, size) / (min(n, m) // size)


class FromFunction(Estimator):
    """A function of the user's own, ``fn(z, y, kernel)``, that returns a 0-dim tensor.

    Args:
        fn: the function; y are as many prior draws as there are codes.
    """

    def __init__(self, fn: Callable[[Tensor, Tensor, Kernel], Tensor]) -> None:
        self.fn = fn

    def __call__(
        self, z: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, kernel: Kernel
    ) -> Float[Tensor, "p"]:
        """Return its value, as the kernel's only part."""
        value = self.fn(z, _needed(y), kernel)
        if not isinstance(value, Tensor) or value.shape != ():
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"estimator: {kind} returned; return a 0-dim tensor")
        return value[None]


ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {"unbiased": Unbiased, "biased": Biased, "block": Block}
"""Those that need nothing but samples, by name."""


def as_estimator(estimator: object) -> Estimator:
    """Return an `Estimator` for a name of `ESTIMATORS`, an estimator, or a function of (z, y, kernel).

    Raises:
        InputError: anything else.
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


def _needed(y: Tensor | None) -> Tensor:
    if y is None:
        raise InputError("estimator: no prior draws received; it needs them")
    return y
