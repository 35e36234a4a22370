"""Priors known by their draws alone: stored samples, callables, torch distributions."""

import inspect
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.precision import full_matmul
from mmdprior.priors.marginals import AtomsMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["FromCallable", "FromDistribution", "PriorLike", "Samples", "as_prior"]

PriorLike = Prior | torch.distributions.Distribution | Tensor | Callable[..., Tensor]
"""Whatever `as_prior` takes."""


class Samples(Prior):
    """The empirical distribution of stored points: rows drawn with replacement.

    The points are not part of the state dict; a checkpoint keeps them once, as data that the run read.

    Args:
        points: (m, d) finite numbers.

    Raises:
        InputError: not two axes, no rows, or entries that are not finite.
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
        device = self.device if generator is None else generator.device
        rows = torch.randint(len(self.points), (n,), generator=generator, device=device)
        return self.points[rows.to(self.device)]

    def moments(self) -> Moments:
        """Mean and covariance of the stored points (divided by m: they are the whole prior)."""
        mean = self.points.mean(0)
        centred = self.points - mean
        return Moments(mean, full_matmul(centred.T, centred) / len(centred))

    @property
    def independent(self) -> bool:
        """Whether there is one dimension alone: rows keep their dimensions together."""
        return self.dim == 1

    def marginals(self) -> list[Marginal]:
        """Return the stored numbers of each dimension, equally likely."""
        columns = self.points.double().sort(dim=0).values.T.contiguous()
        weights = torch.full_like(columns[0], 1 / len(self.points))
        return [AtomsMarginal(column, weights) for column in columns]


class _Unseeded(Prior):
    """A source of draws that takes no generator: seeded by forking the global one."""

    @abstractmethod
    def _draw(self, n: int) -> Tensor:
        """Draw n points from torch's global generators."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points; a generator seeds torch's global stream for the length of the call."""
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
        return check(self._draw(n), n, self.dim, self._name).to(self.device, self.dtype)


class FromCallable(_Unseeded):
    """Any function ``fn(n)`` or ``fn(n, dim)`` that returns (n, dim) draws from torch's generators.

    One draw is taken at construction, so that a function that cannot serve fails there.

    Args:
        fn: the function.
        dim: number of dimensions d.

    Raises:
        InputError: not callable, or draws that are not a finite floating (n, dim) tensor.
    """

    def __init__(self, fn: Callable[..., Tensor], dim: int) -> None:
        super().__init__(dim)
        if not callable(fn):
            raise InputError(f"fn: {fn!r} received; give a function of n or of (n, dim)")
        self.fn = fn
        self._named, self._takes_dim = _takes_dim(fn)
        check_draws(self)

    @property
    def _name(self) -> str:
        fn = getattr(self.fn, "func", self.fn)
        return f"prior {getattr(fn, '__name__', type(fn).__name__)}"

    def _draw(self, n: int) -> Tensor:
        if self._named:
            return self.fn(n, dim=self.dim)
        return self.fn(n, self.dim) if self._takes_dim else self.fn(n)


class FromDistribution(_Unseeded):
    """A `torch.distributions.Distribution` whose draws are vectors of d numbers.

    Args:
        distribution: for instance ``Independent(Normal(loc, scale), 1)`` or ``Laplace(zeros(d), 1)``.
        dim: repeats a distribution of one number over d independent dimensions.

    Raises:
        InputError: a distribution of more or fewer axes.
    """

    def __init__(self, distribution: torch.distributions.Distribution, dim: int | None = None) -> None:
        shape = (*distribution.batch_shape, *distribution.event_shape)
        if shape == () and dim is not None:
            distribution, shape = distribution.expand((dim,)), (dim,)
        if len(shape) != 1:
            raise InputError(
                f"distribution: batch and event shape {shape} received; they must be one axis of d"
            )
        super().__init__(shape[0])
        self.distribution = distribution
        with torch.random.fork_rng([]):
            self._where = distribution.sample().device

    def _draw(self, n: int) -> Tensor:
        return self.distribution.sample((n,))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        try:
            values = self.distribution.log_prob(z.to(self._where))
        except ValueError as error:
            raise InputError(f"{self._name}: no log_prob for these codes ({reason(error)})") from None
        return (values.sum(1) if values.ndim == 2 else values).to(z.device)

    def moments(self) -> Moments:
        """Mean and covariance, where the distribution has finite ones that torch knows."""
        try:
            mean = self.distribution.mean
            covariance = self._covariance()
        except NotImplementedError:
            return super().moments()
        if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
            return super().moments()
        return Moments(mean.to(self._anchor), covariance.to(self._anchor))

    def _covariance(self) -> Tensor:
        """Covariance of the flattened event; a variance alone says it for independent entries only."""
        given = self.distribution
        if hasattr(given, "covariance_matrix"):
            return given.covariance_matrix
        independent = len(given.event_shape) == 0 or isinstance(given, torch.distributions.Independent)
        if not independent or isinstance(given, torch.distributions.VonMises):
            raise NotImplementedError
        return torch.diag(given.variance)


def as_prior(source: object, dim: int | None = None) -> Prior:
    """Return a `Prior` for whatever can be sampled.

    Args:
        source: a `Prior`, a `torch.distributions.Distribution`, an (m, d) tensor of samples, or a
            callable ``(n) -> (n, d)`` or ``(n, dim) -> (n, d)``.
        dim: needed for a callable; repeats a distribution of one number.

    Raises:
        InputError: nothing that can be sampled, or a callable without dim.
    """
    if isinstance(source, Prior):
        return source
    if isinstance(source, torch.distributions.Distribution):
        return FromDistribution(source, dim)
    if isinstance(source, Tensor):
        return Samples(source)
    if callable(source):
        if dim is None:
            raise InputError("prior: a plain callable received; wrap it as FromCallable(fn, dim)")
        return FromCallable(source, dim)
    raise InputError(
        f"prior: {type(source).__name__} received; give a Prior, a torch distribution, an (m, d) "
        "tensor or a callable"
    )


def check_draws(prior: Prior) -> None:
    """Draw once from a prior of the user's own and raise `InputError` unless the draws can serve."""
    with torch.random.fork_rng([]):
        draws = check(prior.sample(8), 8, prior.dim, prior._name)
    if not bool(torch.isfinite(draws).all()):
        raise InputError(f"{prior._name}: NaN or infinity returned; return finite draws")


def check(draws: object, n: int, dim: int, name: str) -> Tensor:
    """Return draws detached, or raise `InputError` unless they are a floating (n, dim) tensor."""
    if not isinstance(draws, Tensor) or not draws.is_floating_point():
        kind = draws.dtype if isinstance(draws, Tensor) else type(draws).__name__
        raise InputError(f"{name}: {kind} returned; return a floating-point torch.Tensor")
    if draws.shape != (n, dim):
        raise InputError(f"{name}: shape {tuple(draws.shape)} returned; return ({n}, {dim})")
    return draws.detach()


def _takes_dim(fn: Callable[..., Tensor]) -> tuple[bool, bool]:
    """Log whether fn takes the dimension: as an argument named dim, or as its second one."""
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False, True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters.values() if p.kind in positional and p.default is p.empty]
    return "dim" in parameters, len(required) != 1
