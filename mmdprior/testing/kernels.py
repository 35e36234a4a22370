"""The contract of a kernel, checked."""

import copy
import pickle
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.kernels import Kernel
from mmdprior.priors import Gaussian
from mmdprior.seeding import stream

__all__ = ["check_kernel"]

_T = TypeVar("_T")

_STEP = 1e-5
"""Step of the central differences, whose error is about its square."""


def check_kernel(kernel: Kernel, *, dim: int = 4, n: int = 24, seed: int = 0) -> None:
    """Check that a kernel follows the contract of `mmdprior.kernels.Kernel`.

    The kernel is bound to N(0, I) and adapted to two samples. Then these are checked: shape, dtype and
    finite values; symmetry; a positive semi-definite Gram matrix where ``positive_definite`` is True; its
    means over pairs; the gradient against finite differences, and at equal points; full precision under
    autocast; the device, where there is a GPU; and that copying keeps its values, and pickling, where the
    class can be imported.

    Args:
        kernel: the kernel.
        dim: number of code dimensions.
        n: rows of one sample; the other has half as many.
        seed: seed of the codes.

    Raises:
        InputError: the first violation, in one line.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> check_kernel(RBF())
        >>> class Squared(Kernel):
        ...     def evaluate(self, x, y):
        ...         return -torch.cdist(x, y).square()
        >>> check_kernel(Squared())
        Traceback (most recent call last):
        mmdprior.errors.InputError: kernel: Squared ...
    """
    if not isinstance(kernel, Kernel):
        raise InputError(f"kernel: {type(kernel).__name__} received; give a mmdprior.kernels.Kernel")
    name = type(kernel).__name__
    x = torch.randn(n, dim, generator=stream(seed, "kernel x"), dtype=torch.float64)
    y = torch.randn(n // 2, dim, generator=stream(seed, "kernel y"), dtype=torch.float64)
    bound = _call(name, "bind(prior)", lambda: kernel.bind(Gaussian(dim)))
    if not isinstance(bound, Kernel):
        raise InputError(f"kernel: {name}.bind returned {type(bound).__name__}; return a Kernel")
    adapted = _call(name, "adapt(x, y)", lambda: bound.adapt(x, y, stream(seed, "kernel adapt")))
    if not isinstance(adapted, Kernel):
        raise InputError(f"kernel: {name}.adapt returned {type(adapted).__name__}; return a Kernel")
    _check_values(name, adapted, x, y)
    _check_means(name, adapted, x, y)
    _check_gradient(name, adapted, x, y)
    _check_precision(name, adapted, x, y)
    if torch.cuda.is_available():
        _check_device(name, adapted, x, y)
    _check_copies(name, adapted, x, y)


def _call(name: str, what: str, function: Callable[[], _T]) -> _T:
    """Call a part of the kernel, and name the kernel where it raises."""
    try:
        return function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"kernel: {name} raised {type(error).__name__} in {what} ({reason(error)})"
        ) from error


def _check_values(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    # `evaluate` first: it is what the user wrote, and `forward` only adds precision.
    gram = _call(name, "evaluate", lambda: kernel.evaluate(x, y))
    expected = (len(x), len(y))
    if not isinstance(gram, Tensor) or gram.shape != expected:
        kind = f"shape {tuple(gram.shape)}" if isinstance(gram, Tensor) else type(gram).__name__
        raise InputError(
            f"kernel: {name} returned {kind} for {len(x)} and {len(y)} rows; return shape {expected}"
        )
    if gram.dtype != torch.float64:
        raise InputError(f"kernel: {name} returned {gram.dtype} for float64 codes; return torch.float64")
    if not bool(torch.isfinite(gram).all()):
        raise InputError(f"kernel: {name} returned values that are not finite; return finite numbers")
    if not torch.equal(gram, kernel(x, y)):
        raise InputError(f"kernel: {name} returned two matrices for the same codes; draw numbers in adapt")
    scale = float(gram.abs().max())
    if not torch.allclose(gram, kernel(y, x).T, rtol=1e-9, atol=1e-9 * scale):
        raise InputError(f"kernel: {name} is not symmetric; k(x, y) must equal k(y, x)")
    if kernel.positive_definite:
        within = kernel(x, x)
        lowest = float(torch.linalg.eigvalsh((within + within.T) / 2).min())
        if lowest < -1e-8 * float(within.abs().max()) * len(x):
            raise InputError(
                f"kernel: {name} has a Gram matrix with eigenvalue {lowest:.2g}; return a positive "
                "semi-definite kernel, or set positive_definite = False"
            )


def _check_means(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    """Compare the means over pairs, which an MMD uses, with those of the matrix."""
    weights = torch.tensor(kernel.part_weights, dtype=x.dtype)
    if len(kernel.part_names) != len(weights):
        raise InputError(
            f"kernel: {name} has {len(kernel.part_names)} part_names and {len(weights)} part_weights; "
            "give one of each per term"
        )
    gram, across = kernel(x, x), kernel(x, y)
    off_diagonal = gram.sum() - gram.diagonal().sum()
    cases = {
        "means_within(x, unbiased=False)": (lambda: kernel.means_within(x, unbiased=False), gram.mean()),
        "means_within(x, unbiased=True)": (
            lambda: kernel.means_within(x, unbiased=True),
            off_diagonal / (len(x) * (len(x) - 1)),
        ),
        "means_across(x, y)": (lambda: kernel.means_across(x, y), across.mean()),
    }
    scale = float(gram.abs().max())
    for what, (mean, expected) in cases.items():
        means = _call(name, what, mean)
        if means.shape != weights.shape:
            raise InputError(
                f"kernel: {name}.{what} returned shape {tuple(means.shape)}; return {tuple(weights.shape)}, "
                "one mean per term"
            )
        if abs(float(weights @ means - expected)) > 1e-5 * scale:
            raise InputError(
                f"kernel: {name}.{what} is {float(weights @ means):.6g}; expected the mean of the matrix, "
                f"{float(expected):.6g}"
            )


def _check_gradient(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    """Compare the gradient with central differences in a random direction, in float64."""
    moved = x.clone().requires_grad_()
    value = kernel(moved, y).mean()
    if not value.requires_grad:
        raise InputError(
            f"kernel: {name} has no gradient in its first argument; use differentiable operations"
        )
    (gradient,) = torch.autograd.grad(value, moved)
    direction = torch.randn(x.shape, generator=stream(0, "kernel direction"), dtype=x.dtype)
    with torch.no_grad():
        ahead, behind = kernel(x + _STEP * direction, y), kernel(x - _STEP * direction, y)
        difference = float((ahead.mean() - behind.mean()) / (2 * _STEP))
        # Rounding errors of the values, divided by the step, bound what differences can resolve.
        tolerance = 1e-4 * abs(difference) + 1e-7 * float(kernel(x, y).abs().max())
    slope = float((gradient * direction).sum())
    if not abs(slope - difference) <= tolerance:
        raise InputError(
            f"kernel: {name} has a directional derivative of {slope:.6g}; expected {difference:.6g} by "
            "finite differences"
        )
    equal = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kernel(equal, x).sum(), equal)
    if not bool(torch.isfinite(gradient).all()):
        raise InputError(
            f"kernel: {name} has a gradient that is not finite at equal points; use squared distances, or "
            "mask the root at zero"
        )


def _check_precision(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    """Compare float32 under bfloat16 autocast with float64."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        gram = kernel(x.float(), y.float())
    if gram.dtype != torch.float32:
        raise InputError(f"kernel: {name} returned {gram.dtype} for float32 codes; return torch.float32")
    exact = kernel(x, y)
    error = float((gram - exact).abs().max())
    if not error <= 1e-4 * max(1.0, float(exact.abs().max())):
        raise InputError(
            f"kernel: {name} has an error of {error:.2g} in float32 under autocast; keep float32 throughout"
        )


def _check_device(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    """Compare the values on a GPU with those on the CPU."""
    moved = copy.deepcopy(kernel).cuda()
    gram = _call(name, "evaluate on cuda", lambda: moved(x.cuda(), y.cuda()))
    if gram.device.type != "cuda":
        raise InputError(f"kernel: {name} returned values on {gram.device} for codes on cuda; return cuda")
    if not torch.allclose(gram.cpu(), kernel(x, y), rtol=1e-9, atol=1e-9):
        raise InputError(f"kernel: {name} has other values on cuda than on the cpu; expected equal ones")


def _check_copies(name: str, kernel: Kernel, x: Tensor, y: Tensor) -> None:
    ways: dict[str, Callable[[Kernel], Kernel]] = {"copy.deepcopy": copy.deepcopy}
    if all(_importable(type(module)) for module in kernel.modules()):
        ways["pickling"] = lambda original: pickle.loads(pickle.dumps(original))
    for way, function in ways.items():
        try:
            other = function(kernel)
        except Exception as error:
            raise InputError(
                f"kernel: {name} fails in {way} ({reason(error)}); keep only picklable attributes"
            ) from error
        if not torch.equal(other(x, y), kernel(x, y)):
            raise InputError(f"kernel: {name} has other values after {way}; keep its settings as attributes")


def _importable(cls: type) -> bool:
    """Whether a class can be imported by its name, as pickle does; one defined in a function cannot."""
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls
