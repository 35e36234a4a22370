"""The contract of a quantiser as a check that needs no test framework."""

import copy

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.models.quantiser import Quantiser
from mmdprior.seeding import stream

__all__ = ["check_quantiser"]

_ROWS = 50
"""Rows that are compared after a change of the others."""

_FAR = 1e6
"""Largest absolute value of the codes that are checked."""


def check_quantiser(quantiser: Quantiser, *, scale: float = 1.0, n: int = 200, seed: int = 0) -> None:
    """Check that a quantiser satisfies the contract of `mmdprior.models.Quantiser`.

    Checked on n draws of N(0, scale^2 I), and on codes far out, are

    - indices: integers of the shape of the codes, from 0 to the number of levels less one;
    - that a row does not depend on the other rows;
    - values: finite numbers of the shape and the dtype of the codes;
    - the output in evaluation mode: the values of the indices;
    - the output in training mode: finite, with a finite gradient;
    - the loss: None, or a finite 0-dim tensor.

    The quantiser is copied.

    Args:
        quantiser: quantiser to check.
        scale: standard deviation of its codes.
        n: number of codes, more than 50.
        seed: seed of the codes.

    Raises:
        InputError: the first violation, in one line that names the member and what was expected.

    Example:
        >>> from mmdprior.models import FSQ
        >>> from mmdprior.testing import check_quantiser
        >>> check_quantiser(FSQ(4, levels=[8, 5, 5, 5]))
        >>> class Wrong(FSQ):
        ...     def indices(self, z):
        ...         return super().indices(z) + 1
        >>> check_quantiser(Wrong(4))
        Traceback (most recent call last):
        mmdprior.errors.InputError: quantiser.indices: values from 1 to 8 returned; expected 0 to 7 ...
    """
    quantiser = copy.deepcopy(quantiser).cpu().float().eval()
    z = scale * torch.randn(n, quantiser.dim, generator=stream(seed, "check_quantiser"))
    z = torch.cat([z, torch.full((1, quantiser.dim), _FAR), torch.full((1, quantiser.dim), -_FAR)])
    with torch.no_grad():
        indices = _indices(quantiser, z)
        others = torch.cat([z[:_ROWS], z[_ROWS:] + 3 * scale])
        if not torch.equal(_indices(quantiser, others)[:_ROWS], indices[:_ROWS]):
            raise InputError(
                "quantiser.indices: a row depends on the other rows; quantise each row independently"
            )
        values = _tensor("values", quantiser.values, indices, z)
        if not torch.equal(_tensor("forward", quantiser, z, z), values):
            raise InputError(
                "quantiser.forward: not quantiser.values(indices) in evaluation mode; return these values"
            )
    _check_training(quantiser.train(), z)


def _indices(quantiser: Quantiser, z: Tensor) -> Tensor:
    """Return the indices of codes, checked for shape, dtype and range."""
    indices: object = _call("indices", quantiser.indices, z)
    if not isinstance(indices, Tensor) or indices.shape != z.shape or indices.dtype != torch.long:
        raise InputError(
            f"quantiser.indices: {_kind(indices)} returned; expected {tuple(z.shape)} torch.int64"
        )
    for column, levels in zip(indices.T, quantiser.levels, strict=True):
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= levels:
            raise InputError(
                f"quantiser.indices: values from {low} to {high} returned; expected 0 to {levels - 1} for "
                f"{levels} levels"
            )
    return indices


def _check_training(quantiser: Quantiser, z: Tensor) -> None:
    """Check the output, its gradient and the loss in training mode."""
    z = z.clone().requires_grad_()
    output = _tensor("forward", quantiser, z, z)
    loss: object = _call("loss", quantiser.loss, z)
    if loss is not None and (not isinstance(loss, Tensor) or loss.shape != () or not torch.isfinite(loss)):
        raise InputError(f"quantiser.loss: {_kind(loss)} returned; expected None or a finite 0-dim tensor")
    if not output.requires_grad:
        raise InputError(
            "quantiser.forward: no gradient of the codes in training mode; use the straight-through estimator"
        )
    (gradient,) = torch.autograd.grad(output.sum(), z)
    if not bool(torch.isfinite(gradient).all()):
        raise InputError("quantiser.forward: NaN or infinity in the gradient; expected finite numbers")


def _tensor(name: str, function: object, x: Tensor, z: Tensor) -> Tensor:
    """Return the tensor of a call, checked for the shape and dtype of the codes and finite numbers."""
    y: object = _call(name, function, x)
    if not isinstance(y, Tensor) or y.shape != z.shape or y.dtype != z.dtype:
        raise InputError(f"quantiser.{name}: {_kind(y)} returned; expected {tuple(z.shape)} {z.dtype}")
    if not bool(torch.isfinite(y).all()):
        raise InputError(f"quantiser.{name}: NaN or infinity returned; expected finite numbers")
    return y


def _call(name: str, function: object, x: Tensor) -> object:
    try:
        return function(x)  # type: ignore[operator]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"quantiser.{name}: {type(error).__name__} ({reason(error)})") from error


def _kind(value: object) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
