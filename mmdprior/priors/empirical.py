"""Priors known only by their draws: stored samples, functions and torch distributions."""

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.precision import full_matmul
from mmdprior.priors.marginals import AtomsMarginal
from mmdprior.priors.prior import (
    Marginal,
    Moments,
    Prior,
    check_draws,
    function_name,
    output_width,
    require_draws,
)
from mmdprior.priors.snapshot import Derived
from mmdprior.seeding import generator_options
from mmdprior.tracing import is_traced

__all__ = ["FromCallable", "FromDistribution", "PriorLike", "Samples", "as_prior"]

PriorLike = Prior | torch.distributions.Distribution | Tensor | Callable[..., Tensor]
"""Everything that `as_prior` accepts in place of a `Prior`."""


def as_prior(source: object, dim: int | None = None) -> Prior:
    """Return a `Prior` for anything that can be sampled.

    Args:
        source: one of

            - a `Prior`, which is returned as it is;
            - a `torch.distributions.Distribution`;
            - an (m, d) tensor of draws, whose rows are drawn with replacement;
            - a function ``(n) -> (n, d)`` or ``(n, dim) -> (n, d)`` that draws from torch's global generator.
        dim: number of dimensions d. A function of (n, dim) needs it; that of a function of n is by default
            the width of its draws. A distribution of single numbers is repeated over d independent
            dimensions. It is not used otherwise.

    Raises:
        InputError: source cannot be sampled, or is a function of (n, dim) and dim is missing.

    Example:
        >>> import torch
        >>> from mmdprior.priors import as_prior
        >>> as_prior(lambda n, dim: torch.randn(n, dim).abs(), dim=3).sample(5).shape
        torch.Size([5, 3])
        >>> as_prior(torch.distributions.Laplace(0.0, 1.0), dim=3).sample(5).shape
        torch.Size([5, 3])
        >>> as_prior(torch.randn(1000, 3)).sample(5).shape
        torch.Size([5, 3])
    """
    if isinstance(source, Prior):
        return source
    if isinstance(source, torch.distributions.Distribution):
        return FromDistribution(source, dim)
    if isinstance(source, Tensor):
        return Samples(source)
    if isinstance(source, type):
        raise InputError(f"prior: the class {source.__name__} received; give an instance of it")
    if callable(source):
        return FromCallable(source, _dim_of_draws(source) if dim is None else dim)
    raise InputError(
        f"prior: {type(source).__name__} received; give a Prior, a torch distribution, an (m, d) "
        "tensor or a function"
    )


def _dim_of_draws(fn: Callable[..., Tensor]) -> int:
    """Return the width of the draws of a function of n."""
    if _takes_dim(fn)[1]:
        raise InputError(
            f"prior: a function {function_name(fn)}(n, dim) without dim received; give dim, or wrap it as "
            "FromCallable(fn, dim)"
        )
    return output_width(lambda: fn(8), f"prior {function_name(fn)}")


class Samples(Prior):
    """The empirical distribution of stored points: rows drawn with replacement.

    The points are not in the state dict. A checkpoint stores them once, with the other files that its run
    read.

    Args:
        points: finite numbers, (m, d).

    Raises:
        InputError: the points do not have two axes, are empty, or are not finite.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Samples
        >>> prior = Samples(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().mean.tolist()
        [1.0, 2.0]
    """

    def __init__(self, points: Tensor) -> None:
        points = torch.as_tensor(points)
        if points.ndim != 2 or 0 in points.shape:
            raise InputError(f"points: shape {tuple(points.shape)} received; give m rows of d numbers")
        if points.is_complex() or points.layout != torch.strided:
            raise InputError(f"points: {points.dtype} {points.layout} received; give dense real numbers")
        points = points.detach().to(torch.get_default_dtype())
        if not bool(torch.isfinite(points).all()):
            raise InputError("points: NaN or infinity received; remove those rows")
        super().__init__(points.shape[1])
        self.register_buffer("points", points, persistent=False)
        self.points: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n rows with replacement."""
        device = self._sampling_device(generator)
        rows = torch.randint(len(self.points), (n,), **generator_options(generator), device=device)
        return self.points[rows.to(self.device)]

    def moments(self) -> Moments:
        """Return mean and covariance of the points, divided by m because they are the whole distribution."""
        mean = self.points.mean(0)
        centred = self.points - mean
        return Moments(mean, full_matmul(centred.T, centred) / len(centred))

    @property
    def independent(self) -> bool:
        """Whether there is only one dimension: a row is drawn as a whole."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the stored values of each dimension, with equal probabilities."""
        columns = self.points.double().sort(dim=0).values.T.contiguous()
        weights = torch.full_like(columns[0], 1 / len(self.points))
        return [AtomsMarginal(column, weights) for column in columns]


class _GlobalGeneratorPrior(Prior):
    """Base of priors whose source of draws accepts no generator.

    A generator then seeds torch's global generators for the duration of one call. Their states are restored
    afterwards.
    """

    @abstractmethod
    def _draw(self, n: int) -> Tensor:
        """Draw n points from torch's global generators."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        if generator is None:
            return self._checked(n)
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(int(seed))
            if devices:
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(int(seed))
            return self._checked(n)

    def _checked(self, n: int) -> Tensor:
        return require_draws(self._draw(n), n, self.dim, self._name).to(self.device, self.dtype)


class FromCallable(_GlobalGeneratorPrior):
    """A function ``fn(n)`` or ``fn(n, dim)`` that returns (n, dim) draws from torch's global generator.

    The constructor draws once, so that a function with wrong output fails there.

    Args:
        fn: function of the number of draws, and of dim where it has an argument of that name or a second one.
        dim: number of dimensions d.

    Raises:
        InputError: fn is not callable, or does not return finite floating-point (n, dim) tensors.

    Example:
        >>> import torch
        >>> from mmdprior.priors import FromCallable
        >>> prior = FromCallable(lambda n, dim: torch.randn(n, dim).abs(), dim=3)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> first = prior.sample(10, torch.Generator().manual_seed(0))
        >>> bool((first == prior.sample(10, torch.Generator().manual_seed(0))).all())
        True
    """

    def __init__(self, fn: Callable[..., Tensor], dim: int) -> None:
        super().__init__(dim)
        if not callable(fn):
            raise InputError(f"fn: {fn!r} received; give a function of n or of (n, dim)")
        self.fn = fn
        self._takes_dim = Derived(_takes_dim)
        check_draws(self)

    @property
    def _name(self) -> str:
        return f"prior {function_name(self.fn)}"

    def _draw(self, n: int) -> Tensor:
        dim_by_name, takes_dim = self._takes_dim.of(self.fn)
        if dim_by_name:
            return self.fn(n, dim=self.dim)
        return self.fn(n, self.dim) if takes_dim else self.fn(n)


def _takes_dim(fn: Callable[..., Tensor]) -> tuple[bool, bool]:
    """Return whether fn has an argument named dim, and whether it needs a second positional argument."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        # Built-in functions without a signature, as torch.randn, take the shape as positional arguments.
        return False, True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters.values() if p.kind in positional and p.default is p.empty]
    return "dim" in parameters, len(required) != 1


class FromDistribution(_GlobalGeneratorPrior):
    """A `torch.distributions.Distribution` whose draws are vectors of d numbers.

    Args:
        distribution: for example ``Independent(Normal(loc, scale), 1)`` or ``Laplace(zeros(d), 1)``, with d
            entries in its batch and event shapes together.
        dim: number of independent dimensions over which a distribution of single numbers is repeated.

    Raises:
        InputError: a draw of the distribution is not a vector.

    Example:
        >>> import torch
        >>> from mmdprior.priors import FromDistribution
        >>> prior = FromDistribution(torch.distributions.Gumbel(torch.zeros(3), 1.0))
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.log_prob(torch.zeros(1, 3)).tolist()
        [-3.0]
    """

    def __init__(self, distribution: torch.distributions.Distribution, dim: int | None = None) -> None:
        shape = (*distribution.batch_shape, *distribution.event_shape)
        if shape == () and dim is not None:
            distribution, shape = distribution.expand((dim,)), (dim,)
        if len(shape) != 1:
            remedy = "give dim, or d of each parameter" if shape == () else "they must be one axis of d"
            raise InputError(f"distribution: batch and event shape {shape} received; {remedy}")
        super().__init__(shape[0])
        self.distribution = distribution
        self._distribution_device = Derived(_device_of)
        self._distribution_device.of(distribution)  # draws once, which fails for bad parameters

    def __deepcopy__(self, memo: dict[int, Any]) -> "FromDistribution":
        # A copy shares the distribution, which never changes: torch's inverse transforms break in a copy.
        memo[id(self.distribution)] = self.distribution
        copied = type(self).__new__(type(self))
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied

    def _draw(self, n: int) -> Tensor:
        return self.distribution.sample((n,))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        try:
            # A distribution does not move with the module.
            there = z.to(self._distribution_device.of(self.distribution))
            values = self.distribution.log_prob(there)
        except ValueError as error:
            raise InputError(f"{self._name}: no log_prob for these codes ({reason(error)})") from None
        # torch.compile switches the validation of distributions off; NaN then is the sign of such codes.
        if not is_traced() and bool((values.isnan() & there.isfinite().all()).any()):
            raise InputError(f"{self._name}: no log_prob for these codes (outside the support)")
        return (values.sum(1) if values.ndim == 2 else values).to(z.device)

    def moments(self) -> Moments:
        """Return mean and covariance.

        Raises:
            InputError: torch does not know them, or they are not finite.
        """
        try:
            mean = self.distribution.mean
            covariance = self._covariance()
        except NotImplementedError:
            return super().moments()
        if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
            return super().moments()
        return Moments(mean.to(self._anchor), covariance.to(self._anchor))

    def _covariance(self) -> Tensor:
        """Return the covariance, or raise NotImplementedError where torch knows only variances."""
        distribution = self.distribution
        if hasattr(distribution, "covariance_matrix"):
            return distribution.covariance_matrix
        independent = len(distribution.event_shape) == 0 or isinstance(
            distribution, torch.distributions.Independent
        )
        # torch's "variance" of a von Mises distribution is the circular one.
        if not independent or isinstance(distribution, torch.distributions.VonMises):
            raise NotImplementedError
        return torch.diag(distribution.variance)


def _device_of(distribution: torch.distributions.Distribution) -> torch.device:
    """Return the device of a distribution's draws."""
    with torch.random.fork_rng([]):
        return distribution.sample().device
