"""The contract of a prior as a check that needs no test framework."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.priors import Prior, PriorLike, as_prior
from mmdprior.testing.prior_closed_forms import (
    check_components,
    check_gradient,
    check_log_prob,
    check_marginals,
    check_moments,
)

__all__ = ["check_prior"]

_SMALL_N = 5
"""Draws of the checks of shape, dtype and device."""


def check_prior(prior: PriorLike, *, dim: int | None = None, n: int = 20_000, seed: int = 0) -> None:
    """Check that a prior satisfies the contract of `mmdprior.priors.Prior`.

    Checked are

    - ``sample``: shape, dtype, device, finite numbers, no gradient;
    - random numbers: equal generator states give equal draws, the generator advances, and the global
      generator is neither used nor changed when a generator is passed;
    - the module: no trainable parameters, tensors registered as buffers, copying, pickling (where the class
      can be imported), and moving to float64 and to a GPU, if there is one;
    - every closed form that does not raise `InputError`, against n draws in float64: ``moments`` and
      ``components`` within 6 standard errors, ``marginals`` within the Dvoretzky-Kiefer-Wolfowitz bound at
      level 1e-9, ``log_prob`` by an integral that must be 1, and ``independent`` by correlations.

    Moments of dimensions with heavy tails are skipped where one draw dominates their standard error. The
    integral of ``log_prob`` loses power as dim grows and for sharp peaks: from 20,000 draws of a Gaussian it
    finds a constant error of 0.1 nats in 8 dimensions, and of 0.5 nats in 32. The prior is copied, and the
    global generators are left unchanged.

    Args:
        prior: anything that `as_prior` accepts: a `Prior`, a torch distribution, a tensor of draws, or a
            function of n or (n, dim).
        dim: number of dimensions d; required for a function, otherwise compared with ``prior.dim``.
        n: number of draws for comparisons, at least 1,000.
        seed: seed of all draws.

    Raises:
        InputError: the first violation, in one line that names the member and what was expected.

    Example:
        >>> import torch
        >>> from mmdprior.priors import Gaussian, Prior
        >>> from mmdprior.testing import check_prior
        >>> check_prior(Gaussian(3))
        >>> check_prior(lambda n, dim: torch.rand(n, dim), dim=4)
        >>> class Wrong(Prior):
        ...     def sample(self, n, generator=None):
        ...         return torch.randn(n, 3, generator=generator)
        >>> check_prior(Wrong(4))
        Traceback (most recent call last):
        mmdprior.errors.InputError: prior.sample: shape (5, 3) returned; expected (5, 4)
    """
    if n < 1000:
        raise InputError(f"n: {n} received; give at least 1000 draws")
    prior = as_prior(prior, dim)
    if dim is not None and prior.dim != dim:
        raise InputError(f"prior.dim: {prior.dim} received; expected {dim}")
    with _forked_global_generators(prior.device):
        _check_module(prior)
        _check_sample(prior, seed)
        _check_randomness(prior, seed)
        exact = _exact_copy(prior, seed)
        _check_cuda(prior, seed)
        _check_pickle(prior, seed)
        check_gradient(prior, _sample(prior, n, _generator(prior, seed)))
        z = _sample(exact, n, _generator(exact, seed))
        check_moments(exact, z)
        check_components(exact, z, seed)
        check_marginals(exact, z)
        check_log_prob(exact, z, seed)


def _check_module(prior: Prior) -> None:
    """Check that the prior has no trainable parameters, and no tensors besides its buffers."""
    for name, parameter in prior.named_parameters():
        if parameter.requires_grad:
            raise InputError(f"prior.{name}: a trainable parameter received; register it as a buffer")
    for name, module in prior.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor):
                path = ".".join(filter(None, ["prior", name, attribute]))
                raise InputError(
                    f"{path}: a plain tensor, which does not move with .to(); use register_buffer"
                )


def _check_sample(prior: Prior, seed: int) -> None:
    """Check type, shape, dtype and device of a few draws."""
    for n in (_SMALL_N, 1, 0):
        for generator in (None, _generator(prior, seed)):
            _sample(prior, n, generator)


def _sample(prior: Prior, n: int, generator: torch.Generator | None, after: str = "") -> Tensor:
    """Return n draws after checking them."""
    try:
        z: object = prior.sample(n, generator)
    except InputError:
        raise
    except Exception as error:
        arguments = f"({n})" if generator is None else f"({n}, generator)"
        raise InputError(
            f"prior.sample: {type(error).__name__} raised by sample{arguments}{after} ({reason(error)})"
        ) from error
    if not isinstance(z, Tensor):
        raise InputError(f"prior.sample: {type(z).__name__} returned{after}; expected a torch.Tensor")
    if z.shape != (n, prior.dim):
        raise InputError(f"prior.sample: shape {tuple(z.shape)} returned{after}; expected {(n, prior.dim)}")
    if z.dtype != prior.dtype:
        raise InputError(f"prior.sample: {z.dtype} returned{after}; expected {prior.dtype} (prior.dtype)")
    if z.device != prior.device:
        raise InputError(f"prior.sample: {z.device} returned{after}; expected {prior.device} (prior.device)")
    if z.requires_grad:
        raise InputError(f"prior.sample: draws that require a gradient returned{after}; detach them")
    bad_rows = int((~torch.isfinite(z)).any(1).sum())
    if bad_rows:
        raise InputError(
            f"prior.sample: NaN or infinity in {bad_rows} of {n} draws{after}; expected finite numbers"
        )
    return z


def _check_randomness(prior: Prior, seed: int) -> None:
    """Check that the generator, where one is passed, is the only source of random numbers."""
    n = 64
    _seed_global_generators(prior.device, seed)
    generator = _generator(prior, seed)
    before = _global_states(prior.device)
    first, second = _sample(prior, n, generator), _sample(prior, n, generator)
    if any(not torch.equal(a, b) for a, b in zip(before, _global_states(prior.device), strict=True)):
        raise InputError(
            "prior.sample: changes the global generator although a generator is passed; pass the generator "
            "to every random function"
        )
    if not torch.equal(_sample(prior, n, _generator(prior, seed)), first):
        raise InputError(
            "prior.sample: equal generator states give different draws; draw all random numbers from the "
            "generator"
        )
    _seed_global_generators(prior.device, seed + 1)
    if not torch.equal(_sample(prior, n, _generator(prior, seed)), first):
        raise InputError(
            "prior.sample: draws depend on the global generator although a generator is passed; pass the "
            "generator to every random function"
        )
    if bool((first == first[0]).all()):
        return  # all rows are equal, as of a distribution at one point: further draws may be equal too
    if torch.equal(first, second):
        raise InputError(
            "prior.sample: a second call with the same generator repeats the draws; it must advance"
        )
    if torch.equal(_sample(prior, n, _generator(prior, seed + 1)), first):
        raise InputError("prior.sample: two seeds of the generator give equal draws; use the generator")
    repeated = []
    for _ in range(2):
        _seed_global_generators(prior.device, seed)
        repeated.append(_sample(prior, n, None))
    if not torch.equal(*repeated):
        raise InputError(
            "prior.sample: equal seeds by torch.manual_seed give different draws; use torch's generators"
        )


def _exact_copy(prior: Prior, seed: int) -> Prior:
    """Return a float64 copy on the CPU, for comparisons with closed forms."""
    try:
        exact = copy.deepcopy(prior)
    except Exception as error:
        raise InputError(f"prior: copy.deepcopy fails ({reason(error)}); keep only copyable state") from error
    exact = exact.to("cpu", torch.float64)
    _sample(exact, _SMALL_N, _generator(exact, seed), " after .to(torch.float64)")
    return exact


def _check_cuda(prior: Prior, seed: int) -> None:
    """Check that a prior on the CPU moves to a GPU, if there is one, and still accepts a CPU generator."""
    if not torch.cuda.is_available() or prior.device.type != "cpu":
        return
    moved = copy.deepcopy(prior).to("cuda")
    for generator in (None, _generator(prior, seed), _generator(moved, seed)):
        _sample(moved, _SMALL_N, generator, " after .to('cuda')")


def _check_pickle(prior: Prior, seed: int) -> None:
    """Check that a pickled copy gives the same draws, where the class can be imported."""
    if isinstance(getattr(prior, "distribution", None), torch.distributions.TransformedDistribution):
        return  # torch loses the inverse transforms of these when they are pickled
    try:
        restored = pickle.loads(pickle.dumps(prior))
    except (AttributeError, pickle.PicklingError):
        return  # a class or function that cannot be imported, as one defined inside a function
    except Exception as error:
        raise InputError(f"prior: pickle fails ({reason(error)}); keep only picklable state") from error
    draws = [_sample(p, _SMALL_N, _generator(prior, seed)) for p in (prior, restored)]
    if not torch.equal(*draws):
        raise InputError("prior: a pickled copy gives other draws from an equal generator; pickle all state")


def _generator(prior: Prior, seed: int) -> torch.Generator:
    return torch.Generator(prior.device).manual_seed(seed)


@contextmanager
def _forked_global_generators(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _seed_global_generators(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _global_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
