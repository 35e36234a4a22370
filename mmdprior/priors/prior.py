"""The contract of a prior: a distribution over the latent space that can be sampled."""

from abc import ABC, abstractmethod
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors.arguments import positive_int, to_tensor
from mmdprior.seeding import generator_options

__all__ = ["Marginal", "Moments", "Prior", "check_draws", "function_name", "output_width", "require_draws"]


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a prior.

    Attributes:
        mean: mean vector, (d,).
        covariance: covariance matrix, (d, d).

    Example:
        >>> from mmdprior.priors import Uniform
        >>> moments = Uniform(2, low=0.0, high=6.0).moments()
        >>> moments.mean.tolist(), moments.covariance.diagonal().tolist()
        ([3.0, 3.0], [3.0, 3.0])
    """

    mean: Float[Tensor, "d"]
    covariance: Float[Tensor, "d d"]


class Marginal(ABC):
    """The distribution of one dimension of a prior.

    Every method applies to each entry of a tensor of any shape. ``cdf`` and ``quantile`` return the dtype of
    their argument.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Uniform
        >>> marginal = Uniform(1, low=0.0, high=2.0).marginals()[0]
        >>> marginal.cdf(torch.tensor([0.5, 1.0, 3.0])).tolist()
        [0.25, 0.5, 1.0]
    """

    @abstractmethod
    def cdf(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the cumulative distribution function P(X <= x)."""

    @abstractmethod
    def quantile(self, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the smallest x with P(X <= x) >= u, for u in (0, 1)."""

    @abstractmethod
    def characteristic(self, t: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
        """Return the characteristic function E exp(i t X) in complex128."""


class Prior(nn.Module, ABC):
    """A distribution p(z) over the latent space R^d.

    Only two members are required:

    - ``dim``: the number of dimensions d, set by ``super().__init__(dim)``;
    - ``sample(n, generator=None)``: n independent draws, an (n, d) tensor on the prior's ``device`` and in
      its ``dtype``. With a generator, all randomness comes from it: equal generator states give equal draws,
      and the global generator is neither used nor changed. The generator may be on another device than the
      prior. In that case, draw on ``generator.device`` and move the draws.

    An MMD penalty needs nothing else. The closed forms below are optional. Their default raises `InputError`,
    and code that can use a closed form falls back to draws where it is missing:

    - ``log_prob(z)``: log-density in nats of each row of z, which a KL penalty needs;
    - ``moments()``: mean and covariance;
    - ``marginals()``: the distribution of each dimension, also where the dimensions are dependent;
    - ``components()``: weights, means and scales where the prior is a mixture of Gaussians with diagonal
      covariances;
    - ``independent``: True where the dimensions are known to be independent. ``marginals()`` must then exist.

    A prior is a module, so that ``.to(device)`` and ``.double()`` move its tensors: register them as buffers.
    It has no trainable parameters. It should be picklable where its class can be imported.
    `mmdprior.testing.check_prior` tests all of this.

    Args:
        dim: number of dimensions d.

    Raises:
        InputError: dim is not an integer of at least 1.

    Example:
        A prior of your own with positive codes, and its closed-form moments:

        >>> import math
        >>> import torch
        >>> from mmdprior.priors import Moments, Prior
        >>> class HalfNormal(Prior):
        ...     def __init__(self, dim, scale=1.0):
        ...         super().__init__(dim)
        ...         self.register_buffer("scale", torch.tensor(scale))
        ...
        ...     def sample(self, n, generator=None):
        ...         device = self.device if generator is None else generator.device
        ...         normal = torch.randn(n, self.dim, generator=generator, device=device, dtype=self.dtype)
        ...         return self.scale * normal.to(self.device).abs()
        ...
        ...     def moments(self):
        ...         mean = math.sqrt(2 / math.pi) * self.scale
        ...         variance = (1 - 2 / math.pi) * self.scale**2
        ...         identity = torch.eye(self.dim, dtype=self.dtype, device=self.device)
        ...         return Moments(mean.repeat(self.dim), variance * identity)
        >>> prior = HalfNormal(3, scale=2.0)
        >>> prior.sample(5).shape
        torch.Size([5, 3])

        Check it against the contract, then match codes with it:

        >>> from mmdprior import MMD
        >>> from mmdprior.testing import check_prior
        >>> check_prior(prior)
        >>> penalty = MMD(prior)
        >>> penalty(torch.randn(64, 3)).shape
        torch.Size([])
    """

    _former_buffers: tuple[str, ...] = ()
    """Names of buffers in state dicts of earlier versions that are now computed from other buffers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = positive_int("dim", dim)
        # An empty buffer that follows .to(...) and so holds the prior's device and dtype.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self._anchor: Tensor

    @property
    def device(self) -> torch.device:
        """Device of the samples."""
        return self._anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point dtype of the samples."""
        return self._anchor.dtype

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n independent points; equal generator states give equal draws."""

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        raise InputError(f"{self._name} has no log_prob; use a prior with a density, or an mmd penalty")

    def moments(self) -> Moments:
        """Return mean and covariance."""
        raise InputError(f"{self._name} has no closed-form moments; estimate them from samples")

    @property
    def independent(self) -> bool:
        """Whether the dimensions are known to be independent, so that the marginals define the prior."""
        return False

    def marginals(self) -> list[Marginal]:
        """Return the d one-dimensional marginals."""
        raise InputError(f"{self._name} has no closed-form marginals; estimate them from samples")

    def components(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Return weights, means and standard deviations of a mixture of diagonal Gaussians."""
        raise InputError(f"{self._name} is not a mixture of Gaussians; components() needs one")

    @property
    def _name(self) -> str:
        """Name of the prior in errors."""
        return type(self).__name__

    def _sampling_device(self, generator: torch.Generator | None) -> torch.device:
        """Return the device to draw on: a generator works only on its own device."""
        return self.device if generator is None else generator.device

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw from N(0, 1)."""
        options = generator_options(generator)
        device = self._sampling_device(generator)
        return torch.randn(shape, **options, device=device, dtype=self.dtype).to(self.device)

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw from U[0, 1)."""
        options = generator_options(generator)
        device = self._sampling_device(generator)
        return torch.rand(shape, **options, device=device, dtype=self.dtype).to(self.device)

    def _signs(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Draw -1 or 1 with equal probability."""
        halves = self._uniform(shape, generator) < 0.5
        return 1 - 2 * halves.to(self.dtype)

    def _vector(self, name: str, value: object, *, positive: bool = False) -> Tensor:
        """Return one number or a sequence of d numbers as a (d,) tensor of finite entries."""
        vector = to_tensor(name, value)
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

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in self._former_buffers:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _register_interval(self, low: object, high: object) -> None:
        """Register the buffers ``low`` and ``high`` after checking low < high in every dimension."""
        lower, upper = self._vector("low", low), self._vector("high", high)
        if not bool((upper > lower).all()):
            raise InputError(f"high: {high} received; every entry must exceed low ({low})")
        self.register_buffer("low", lower)
        self.register_buffer("high", upper)


def require_draws(draws: object, n: int, dim: int, name: str) -> Tensor:
    """Return draws of user code, detached, after checking type and shape.

    Args:
        draws: what the user's function returned.
        n: number of draws requested.
        dim: number of dimensions d.
        name: name of the function in errors.

    Raises:
        InputError: draws is not a floating-point (n, dim) tensor.
    """
    if not isinstance(draws, Tensor) or not draws.is_floating_point():
        kind = draws.dtype if isinstance(draws, Tensor) else type(draws).__name__
        raise InputError(f"{name}: {kind} returned; expected a floating-point torch.Tensor")
    if draws.shape != (n, dim):
        raise InputError(f"{name}: shape {tuple(draws.shape)} returned; expected ({n}, {dim})")
    return draws.detach()


def check_draws(prior: Prior) -> None:
    """Draw a few points from a prior of user code, so that mistakes show before training.

    Args:
        prior: prior to draw from; the global generator is left unchanged.

    Raises:
        InputError: the draws are not a finite floating-point (n, dim) tensor.
    """
    n = 8
    with torch.random.fork_rng([]):
        draws = require_draws(prior.sample(n), n, prior.dim, prior._name)
    if not bool(torch.isfinite(draws).all()):
        raise InputError(f"{prior._name}: NaN or infinity returned; expected finite draws")


def output_width(draw: Callable[[], object], name: str) -> int:
    """Return the number of columns that user code returns; the global generator is left unchanged.

    Args:
        draw: function that draws a few points.
        name: name of the function in errors.

    Raises:
        InputError: draw does not return an (n, d) tensor.
    """
    with torch.no_grad(), torch.random.fork_rng([]):
        draws = draw()
    if not isinstance(draws, Tensor) or draws.ndim != 2:
        kind = tuple(draws.shape) if isinstance(draws, Tensor) else type(draws).__name__
        raise InputError(f"{name}: {kind} returned; expected an (n, d) tensor")
    return draws.shape[1]


def function_name(fn: object) -> str:
    """Return the name of a function in errors; of the function inside a partial, or the type otherwise."""
    inner = getattr(fn, "func", fn)
    return str(getattr(inner, "__name__", type(inner).__name__))
