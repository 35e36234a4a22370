"""The contract of a prior: anything that can be sampled."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from mmdprior.errors import InputError, reason

__all__ = ["Marginal", "Moments", "Prior", "number", "numbers", "positive_int", "unit_number"]


@dataclass(frozen=True)
class Moments:
    """First two moments of a prior."""

    mean: Float[Tensor, "d"]
    covariance: Float[Tensor, "d d"]


class Prior(nn.Module, ABC):
    """A distribution p(z) over R^d that can be sampled.

    A module, so that ``.to(device)`` and ``.double()`` move what it holds; it has no trainable
    parameters. ``sample`` is all that an MMD penalty asks for. The closed forms are optional: one
    that a prior does not have raises `InputError`.

    Args:
        dim: number of dimensions d.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = positive_int("dim", dim)
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self._anchor: Tensor

    @property
    def device(self) -> torch.device:
        """Where samples are returned."""
        return self._anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the samples."""
        return self._anchor.dtype

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; equal generator states give equal draws."""

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        raise InputError(f"{self._name} has no log_prob; use a prior with a density, or an mmd penalty")

    def moments(self) -> Moments:
        """Mean and covariance."""
        raise InputError(f"{self._name} has no closed-form moments; estimate them from samples")

    @property
    def independent(self) -> bool:
        """Whether the dimensions are known to be independent: then the marginals say everything."""
        return False

    def marginals(self) -> list["Marginal"]:
        """Return the d one-dimensional marginals, of dependent dimensions too."""
        raise InputError(f"{self._name} has no closed-form marginals; estimate them from samples")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw standard normals where the generator lives and return them on the prior's device."""
        device = self.device if generator is None else generator.device
        draws = torch.randn(shape, generator=generator, device=device, dtype=self.dtype)
        return draws.to(self.device)

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw U[0, 1) where the generator lives and return it on the prior's device."""
        device = self.device if generator is None else generator.device
        draws = torch.rand(shape, generator=generator, device=device, dtype=self.dtype)
        return draws.to(self.device)

    def _signs(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw -1 or 1 with equal probability."""
        halves = self._uniform(shape, generator) < 0.5
        return 1 - 2 * halves.to(self.dtype)

    def _register_ends(self, low: object, high: object) -> None:
        """Keep the buffers ``low`` and ``high``, every entry of high above that of low."""
        ends = self._vector("low", low), self._vector("high", high)
        if not bool((ends[1] > ends[0]).all()):
            raise InputError(f"high: {high} received; every entry must exceed low ({low})")
        self.register_buffer("low", ends[0])
        self.register_buffer("high", ends[1])

    def _vector(self, name: str, value: object, *, positive: bool = False) -> Tensor:
        """Turn a number or a sequence of d numbers into a (d,) tensor."""
        vector = numbers(name, value)
        if vector.ndim == 0:
            vector = vector.repeat(self.dim)
        if vector.shape != (self.dim,):
            raise InputError(
                f"{name}: shape {tuple(vector.shape)} received; give one number or {self.dim} (dim)"
            )
        if not bool(torch.isfinite(vector).all()):
            raise InputError(f"{name}: {value} received; every entry must be finite")
        if positive and not bool((vector > 0).all()):
            raise InputError(f"{name}: {value} received; every entry must be positive")
        return vector


class Marginal(ABC):
    """The distribution of one dimension. Methods act on each entry of a tensor of any shape."""

    @abstractmethod
    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Probability of at most x."""

    @abstractmethod
    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Smallest x whose cdf is at least u, for u in (0, 1)."""

    @abstractmethod
    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """E exp(i t x), in complex128."""


def positive_int(name: str, value: object) -> int:
    """Return value as an int of at least 1, or raise `InputError` naming it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: {value!r} received; give an integer of at least 1")
    return value


def number(name: str, value: object, *, zero: bool = False) -> float:
    """Return value as a finite float above zero (or at least zero), or raise `InputError` naming it."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not (0 <= float(value) < math.inf) or (value == 0 and not zero):  # type: ignore[arg-type]
        remedy = "of at least 0" if zero else "above 0"
        raise InputError(f"{name}: {value!r} received; give a finite number {remedy}")
    return float(value)  # type: ignore[arg-type]


def unit_number(name: str, value: object) -> float:
    """Return value as a float in [0, 1], or raise `InputError` naming it."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not plain or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InputError(f"{name}: {value!r} received; give a probability, from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def numbers(name: str, value: object) -> Tensor:
    """Return a number or nested sequences of equal length as a floating tensor, or raise `InputError`."""
    try:
        return torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name}: not a table of numbers ({reason(error)})") from None
