"""Codes in any kind of array as a tensor, or one line about what to give instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.columns import doubtful_names
from mmdprior.errors import InputError, reason
from mmdprior.precision import to_numbers

__all__ = ["CodesLike", "to_tensor"]

CodesLike = Any
"""(n, d) codes, one row per sample: a tensor, a NumPy array, nested lists, a data frame, or any object with
``__dlpack__`` or ``__array__``."""


def to_tensor(codes: CodesLike, name: str = "codes") -> Tensor:
    """Return an array of real numbers as a dense tensor, without a copy where possible.

    Args:
        codes: array of any kind.
        name: name of the array in errors.

    Raises:
        InputError: the entries are not real numbers, some are masked, the array is sparse, nested, quantised
            or without values, its rows have different lengths, or a column of a data frame is no code
            dimension by its name.

    Example:
        >>> from mmdprior.metrics.inputs import to_tensor
        >>> to_tensor([[0.5, 1.0], [2.0, 3.0]]).shape
        torch.Size([2, 2])
    """
    if isinstance(codes, Tensor):
        return _plain(codes, name)
    if isinstance(codes, np.ndarray):
        return _from_array(codes, name)
    if hasattr(codes, "toarray") and hasattr(codes, "nnz"):
        raise InputError(f"{name}: sparse {type(codes).__name__} received; give {name}.toarray()")
    column_names = _column_names(codes)
    if column_names is not None:
        return _from_array(_frame_values(codes, column_names, name), name)
    if isinstance(codes, (list, tuple)):
        return _from_sequence(codes, name)
    if hasattr(codes, "__dlpack__"):
        try:
            return _plain(torch.utils.dlpack.from_dlpack(codes), name)
        except Exception as error:  # each library raises its own types
            if not hasattr(codes, "__array__"):
                raise InputError(f"{name}: {type(codes).__name__} cannot be read ({reason(error)})") from None
    if hasattr(codes, "__array__"):
        return _from_array(np.asarray(codes), name)
    load = "; load the file first" if isinstance(codes, str) or hasattr(codes, "__fspath__") else ""
    raise InputError(f"{name}: {type(codes).__name__} received; give an (n, d) array of real numbers{load}")


def _plain(tensor: Tensor, name: str) -> Tensor:
    """Return a strided tensor of real numbers, detached and without pending conjugation or negation."""
    remedy = None
    if tensor.is_nested:
        remedy = f"a nested tensor received; give torch.cat({name}.unbind()) if each part has rows of codes"
    elif tensor.is_quantized:
        remedy = f"a quantised tensor received; give {name}.dequantize()"
    elif tensor.layout != torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
        remedy = f"a tensor with layout {kind} received; give a dense array, {name}.to_dense()"
    elif tensor.device.type == "meta":
        remedy = "a tensor on the meta device has no values; give a dense array"
    elif tensor.is_complex():
        remedy = f"{tensor.dtype} received; give real numbers, torch.view_as_real({name}).flatten(1)"
    if remedy is not None:
        raise InputError(f"{name}: {remedy}")
    return tensor.detach().resolve_conj().resolve_neg()


def _from_array(array: np.ndarray, name: str) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(array)
        if masked.any():
            rows = int(masked.reshape(len(masked), -1).any(1).sum())
            raise InputError(
                f"{name}: {int(masked.sum())} masked entries in {rows} of {len(array)} rows received; "
                f"remove those rows, or give {name}.filled(value)"
            )
        array = array.data
    if array.dtype.names is not None:
        raise InputError(
            f"{name}: fields {list(array.dtype.names)} received; give "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})"
        )
    return to_numbers(np.asarray(array), name)


def _from_sequence(codes: Sequence[Any], name: str) -> Tensor:
    if codes and all(isinstance(row, Tensor) for row in codes):
        if len({row.shape for row in codes}) > 1:
            raise InputError(f"{name}: tensors of different shapes received; give one row per sample")
        return _plain(torch.stack([_plain(row, name) for row in codes]), name)
    try:
        array = np.asarray(codes)
    except (ValueError, TypeError) as error:
        different = "inhomogeneous" in str(error)
        detail = "rows of different lengths received" if different else f"unreadable ({reason(error)})"
        raise InputError(f"{name}: {detail}; give d numbers in every row") from None
    return _from_array(array, name)


def _column_names(codes: Any) -> list[str] | None:
    """Return the names of the columns of a data frame of pandas, polars or Arrow; None for other objects."""
    if not (hasattr(codes, "columns") or hasattr(codes, "column_names")):
        return None
    names = getattr(codes, "column_names", None)
    return [str(name) for name in (codes.columns if names is None else names)]


def _frame_values(frame: Any, column_names: list[str], name: str) -> np.ndarray:
    """Return the values of a data frame; missing values become NaN.

    Raises:
        InputError: a column is no code dimension by its name, or is not numeric.
    """
    numbers = not all(column.isdigit() for column in column_names)
    doubtful = doubtful_names(column_names) if numbers else []
    if doubtful:
        listed = [column_names[index] for index in doubtful]
        raise InputError(
            f"{name}: columns {listed} received, which are no code dimensions by their names; leave them "
            f"out, or give the values without names, such as {name}.to_numpy()"
        )
    columns = [np.asarray(column) for column in _frame_columns(frame, column_names)]
    text = [
        column
        for column, values in zip(column_names, columns, strict=True)
        if values.dtype.kind not in "fiub"
    ]
    if text:
        raise InputError(f"{name}: columns {text} are not numeric; leave them out")
    return np.stack(columns, 1) if columns else np.empty((len(frame), 0))


def _frame_columns(frame: Any, column_names: list[str]) -> list[Any]:
    if hasattr(frame, "iloc"):
        return [_pandas_values(frame.iloc[:, index]) for index in range(len(column_names))]
    return [frame[column].to_numpy() for column in column_names]


def _pandas_values(column: Any) -> np.ndarray:
    """Return the values of a column; its own missing value, NA, as NaN."""
    values = column.to_numpy()
    if values.dtype == object and getattr(column.dtype, "kind", "O") in "fiub":
        return column.to_numpy(dtype=float, na_value=np.nan)
    return values
