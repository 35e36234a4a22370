"""The contract of a bijection as a check that needs no test framework."""

import copy
import io
import pickle

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.flows.bijection import Bijection
from mmdprior.seeding import stream

__all__ = ["check_bijection"]

_JACOBIANS = 4
"""Rows at which the log-determinant is compared with the Jacobian."""

_FAR = 20.0
"""Distance, in standard deviations, of codes far out."""


def check_bijection(bijection: Bijection, *, scale: float = 1.0, n: int = 200, seed: int = 0) -> None:
    """Check that a bijection satisfies the contract of `mmdprior.flows.Bijection`.

    Checked in evaluation mode, on n draws of N(0, scale^2 I), are

    - shape, dtype, finite numbers, and that nothing is random;
    - that a row of the output does not depend on the other rows;
    - the inverse: its largest error is below 1e-4 scale in float32, and below 1e-10 scale in float64;
    - ``forward_and_log_det``: the values of ``forward``, and the log-determinant of the Jacobian in float64,
      within 1e-10 if z is differentiable and 1e-5 otherwise;
    - codes 20 standard deviations from the centre: finite, also after the inverse;
    - deepcopy, the state dict, and pickling where the class can be imported.

    The bijection is copied.

    Args:
        bijection: bijection to check.
        scale: standard deviation of its codes.
        n: number of codes.
        seed: seed of the codes.

    Raises:
        InputError: the first violation, in one line that names the member and what was expected.

    Example:
        >>> from mmdprior.flows import Permutation
        >>> from mmdprior.testing import check_bijection
        >>> check_bijection(Permutation([2, 0, 1]))
        >>> class Wrong(Permutation):
        ...     def inverse(self, z):
        ...         return z
        >>> check_bijection(Wrong([2, 0, 1]))
        Traceback (most recent call last):
        mmdprior.errors.InputError: bijection.inverse: off by 5.4 for torch.float32 codes of scale 1; ...
    """
    try:
        bijection = copy.deepcopy(bijection).cpu().float().eval()
    except Exception as error:
        raise InputError(
            f"bijection: copy.deepcopy fails ({reason(error)}); keep only copyable state"
        ) from None
    codes = scale * torch.randn(n, bijection.dim, generator=stream(seed, "check_bijection"))
    exact = copy.deepcopy(bijection).double()
    with torch.no_grad():
        for module, h, tolerance in ((bijection, codes, 1e-4), (exact, codes.double(), 1e-10)):
            _check_outputs(module, h)
            _check_inverse(module, h, tolerance * scale, scale)
            _check_far(module, h)
        _check_rows(bijection, codes)
        _check_copies(bijection, codes)
    _check_log_det(exact, codes.double()[:_JACOBIANS], scale)


def _call(bijection: Bijection, name: str, x: Tensor) -> Tensor:
    """Return the tensor that a method returns, checked for shape, dtype and finite numbers."""
    try:
        y: object = getattr(bijection, name)(x)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"bijection.{name}: {type(error).__name__} for {x.dtype} codes of shape {tuple(x.shape)} "
            f"({reason(error)})"
        ) from error
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        got = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"bijection.{name}: {got} returned; expected {tuple(x.shape)} {x.dtype}")
    if not bool(torch.isfinite(y).all()):
        raise InputError(f"bijection.{name}: NaN or infinity returned; expected finite numbers")
    return y


def _check_outputs(bijection: Bijection, h: Tensor) -> None:
    z = _call(bijection, "forward", h)
    if not torch.equal(_call(bijection, "forward", h), z):
        raise InputError("bijection.forward: two calls differ; draw no random numbers in evaluation mode")
    pair: object = bijection.forward_and_log_det(h)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError("bijection.forward_and_log_det: expected a pair of z and log_det")
    if not torch.allclose(pair[0], z, rtol=1e-5, atol=1e-5 * float(z.abs().max())):
        raise InputError("bijection.forward_and_log_det: other values than forward; return the same z")
    if pair[1].shape != (len(h),) or not bool(torch.isfinite(pair[1]).all()):
        raise InputError(
            f"bijection.forward_and_log_det: log_det of shape {tuple(pair[1].shape)} returned; expected "
            f"finite numbers of shape ({len(h)},)"
        )


def _check_inverse(bijection: Bijection, h: Tensor, tolerance: float, scale: float) -> None:
    error = float((_call(bijection, "inverse", _call(bijection, "forward", h)) - h).abs().max())
    if error > tolerance:
        raise InputError(
            f"bijection.inverse: off by {error:.2g} for {h.dtype} codes of scale {scale:g}; expected at most "
            f"{tolerance:.1g}"
        )


def _check_far(bijection: Bijection, h: Tensor) -> None:
    """Check that codes far out stay finite in both directions."""
    _call(bijection, "inverse", _call(bijection, "forward", _FAR * h))


def _check_rows(bijection: Bijection, h: Tensor) -> None:
    whole, last = _call(bijection, "forward", h), _call(bijection, "forward", h[-1:])
    if not torch.allclose(last, whole[-1:], rtol=1e-4, atol=1e-4 * float(whole.abs().max())):
        raise InputError(
            "bijection.forward: a row depends on the other rows of its batch; map each row independently"
        )


def _check_copies(bijection: Bijection, h: Tensor) -> None:
    """Check that the state dict restores changed numbers, and that a pickled copy is equal."""
    z = _call(bijection, "forward", h)
    file = io.BytesIO()
    torch.save(bijection.state_dict(), file)
    file.seek(0)
    restored = copy.deepcopy(bijection)
    for tensor in restored.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.01)
    restored.load_state_dict(torch.load(file, weights_only=True))
    if not torch.equal(_call(restored, "forward", h), z):
        raise InputError("bijection: its state dict does not restore it; register parameters or buffers")
    try:
        pickled = pickle.loads(pickle.dumps(bijection))
    except (AttributeError, pickle.PicklingError):
        return  # a class that cannot be imported, as one defined inside a function
    if not torch.equal(_call(pickled, "forward", h), z):
        raise InputError("bijection: a pickled copy maps codes differently; pickle all state")


def _check_log_det(bijection: Bijection, h: Tensor, scale: float) -> None:
    log_det = bijection.forward_and_log_det(h)[1].detach()
    differentiable = bijection(h.clone().requires_grad_()).requires_grad
    jacobian = _jacobian if differentiable else _difference_quotients
    expected = torch.stack([torch.linalg.slogdet(jacobian(bijection, row, scale)).logabsdet for row in h])
    error = float((log_det - expected).abs().max())
    if not error <= (1e-10 if differentiable else 1e-5) * max(1.0, float(expected.abs().max())):
        raise InputError(
            f"bijection.forward_and_log_det: log_det differs by {error:.2g} from that of the Jacobian"
        )


def _jacobian(bijection: Bijection, row: Tensor, scale: float) -> Tensor:
    return torch.autograd.functional.jacobian(lambda h: bijection(h[None])[0], row)


def _difference_quotients(bijection: Bijection, row: Tensor, scale: float) -> Tensor:
    """Return the Jacobian from central differences of fourth order."""
    step = 1e-3 * scale
    shifts = step * torch.eye(len(row), dtype=row.dtype)
    near = bijection(row + shifts) - bijection(row - shifts)
    far = bijection(row + 2 * shifts) - bijection(row - 2 * shifts)
    return ((8 * near - far) / (12 * step)).T
