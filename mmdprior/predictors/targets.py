"""Targets of a mixture of experts: real numbers, or classes of any type."""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, InputWarning
from mmdprior.predictors.mixture import Family
from mmdprior.predictors.rows import Rows

__all__ = ["encode_classes", "find_classes", "real_targets", "target_array"]


def target_array(y: Any, rows: Rows) -> Any:
    """Return targets of the shape of the rows, (p, n), as a tensor or an array.

    Args:
        y: (n,) or (p, n) targets; a column (n, 1) is accepted with a warning.
        rows: inputs of the targets.

    Raises:
        InputError: y is missing, or its shape is not that of the rows.
    """
    if y is None:
        raise InputError("y: None received. This estimator requires y to be passed, but the target y is None")
    y = y if isinstance(y, Tensor) else np.asarray(y)
    p, n = rows.shape[:2]
    if rows.single and tuple(y.shape) == (n, 1) and n != 1:
        warnings.warn(
            f"y: a column, shape ({n}, 1), received; its {n} entries are used, give y.ravel()",
            InputWarning,
            stacklevel=4,
        )
        y = y[:, 0]
    expected = (n,) if rows.single else (p, n)
    if tuple(y.shape) != expected:
        raise InputError(f"y: shape {tuple(y.shape)} received; expected {expected}, one target per row of x")
    return y.reshape(p, n)


def real_targets(y: Any, rows: Rows) -> Float[Tensor, "p n"]:
    """Return real targets, as `target_array` returns them, on the device of the rows.

    Raises:
        InputError: an entry is NaN, infinite or not a real number.
    """
    if not isinstance(y, Tensor):
        if y.dtype.kind == "c":
            raise InputError("y: complex numbers received. Complex data not supported; give real numbers")
        try:
            y = torch.from_numpy(y.astype(np.float64))
        except (TypeError, ValueError):
            raise InputError(f"y: entries of type {y.dtype} received; give real numbers") from None
    numbers = y.detach().to(rows.device, rows.dtype)
    _check_finite(numbers, rows)
    return numbers


def find_classes(y: Any, rows: Rows, kind: Family) -> Any:
    """Return the sorted classes of targets, as `target_array` returns them.

    Raises:
        InputError: an entry is NaN, real targets are no classes, or the number of classes does not suit the
            kind of the experts.
    """
    is_float = y.dtype.is_floating_point if isinstance(y, Tensor) else y.dtype.kind == "f"
    if not isinstance(y, Tensor) and y.dtype.kind == "O" and any(entry != entry for entry in y.flat):
        raise InputError("y: NaN received; give a class for every row")
    if is_float:
        numbers = y if isinstance(y, Tensor) else torch.from_numpy(np.asarray(y, np.float64))
        _check_finite(numbers, rows)
        if bool((numbers != numbers.round()).any()):
            raise InputError("y: Unknown label type: continuous. Real numbers received; give classes")
    classes = y.unique() if isinstance(y, Tensor) else np.unique(y)
    first = y[:, :1]
    varied = (y != first).any(1)
    if not bool(varied.all()):
        place = "" if rows.single else f" in problem {int(np.argmin(np.asarray(_on_cpu(varied))))}"
        raise InputError(f"y: one class received{place}; give at least two classes")
    if kind == "logistic" and len(classes) > 2:
        raise InputError(
            f"y: {len(classes)} classes received. Only binary classification is supported. The type of the "
            "target is multiclass; give kind='multinomial'"
        )
    return classes


def encode_classes(y: Any, classes: Any, rows: Rows) -> Float[Tensor, "p n"]:
    """Return the index of the class of every target, on the device of the rows.

    Raises:
        InputError: a target is none of the classes.
    """
    if isinstance(classes, Tensor):
        y = torch.as_tensor(y).to(classes)
        index = torch.searchsorted(classes, y.contiguous()).clamp(max=len(classes) - 1)
        unknown = classes[index] != y
    else:
        y = _on_cpu(y)
        index = np.searchsorted(classes, y).clip(max=len(classes) - 1)
        unknown = classes[index] != y
    if bool(unknown.any()):
        value = y[unknown][0]
        raise InputError(f"y: {value!s} received; expected a class of the data of the fit")
    return torch.as_tensor(index).to(rows.device, rows.dtype)


def _on_cpu(y: Any) -> Any:
    return y.cpu().numpy() if isinstance(y, Tensor) else y


def _check_finite(numbers: Tensor, rows: Rows) -> None:
    wrong = (~numbers.isfinite()).nonzero()
    if len(wrong):
        problem, row = wrong[0].tolist()
        place = f"row {row}" if rows.single else f"row {row} of problem {problem}"
        raise InputError(f"y: NaN or infinity received in {place}; give finite numbers")
