"""Checks of constructor arguments, each with a one-line `InputError` that names the argument."""

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from mmdprior.errors import InputError, reason

__all__ = [
    "is_number",
    "number_table",
    "positive_int",
    "positive_number",
    "positive_numbers",
    "to_tensor",
    "unit_interval",
]


def positive_int(name: str, value: object) -> int:
    """Return value, an integer of at least 1.

    Args:
        name: argument name for the error.
        value: value to check.

    Raises:
        InputError: value is not an integer, or below 1.
    """
    # The integers of NumPy are no `int`.
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name}: {value!r} received; give an integer of at least 1")
    return int(value)


def positive_number(name: str, value: object, *, allow_zero: bool = False) -> float:
    """Return value as a finite float above zero.

    Args:
        name: argument name for the error.
        value: value to check.
        allow_zero: whether zero is accepted too.

    Raises:
        InputError: value is not a number, not finite, negative, or zero where zero is not accepted.
    """
    finite = is_number(value) and 0 <= float(value) < math.inf  # type: ignore[arg-type]
    if not finite or (value == 0 and not allow_zero):
        bound = "of at least 0" if allow_zero else "above 0"
        raise InputError(f"{name}: {value!r} received; give a finite number {bound}")
    return float(value)  # type: ignore[arg-type]


def positive_numbers(name: str, values: object, count: int | None = None) -> list[float]:
    """Return a sequence of finite numbers above zero as floats.

    Args:
        name: argument name for the error.
        values: sequence to check.
        count: required length; any length of at least one by default.

    Raises:
        InputError: values is not a sequence of such numbers, or of another length.
    """
    numbers = list(values) if isinstance(values, Sequence) else []
    valid = len(numbers) > 0 and count in (None, len(numbers))
    if not valid or not all(is_number(number) and 0 < number < math.inf for number in numbers):
        expected = "at least one positive number" if count is None else f"{count} positive numbers"
        raise InputError(f"{name}: {values} received; give {expected} in a list")
    return [float(number) for number in numbers]


def unit_interval(name: str, value: object) -> float:
    """Return value as a float in [0, 1].

    Args:
        name: argument name for the error.
        value: value to check.

    Raises:
        InputError: value is not a number, or outside [0, 1].
    """
    if not is_number(value) or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InputError(f"{name}: {value!r} received; give a probability from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def to_tensor(name: str, value: object) -> Tensor:
    """Return a number, a nested sequence or a tensor as a tensor of the default floating-point dtype.

    Args:
        name: argument name for the error.
        value: a number, or nested sequences of equal length.

    Raises:
        InputError: value cannot be converted to a tensor.
    """
    try:
        return torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name}: not a table of numbers ({reason(error)})") from None


def number_table(name: str, value: object, expected: str, *, columns: int | None = None) -> Tensor:
    """Return a copy of value as a matrix of finite numbers with at least one entry.

    Args:
        name: argument name for the error.
        value: nested sequence or tensor of two axes.
        expected: phrase for the error that describes a valid value.
        columns: required number of columns; any number by default.

    Raises:
        InputError: value does not have two axes, is empty, has another number of columns, or holds NaN or
            infinity.
    """
    table = to_tensor(name, value)
    right_shape = table.ndim == 2 and 0 not in table.shape and columns in (None, table.shape[1])
    if not right_shape or not bool(torch.isfinite(table).all()):
        raise InputError(f"{name}: shape {tuple(table.shape)} received; give {expected}")
    return table.clone()


def is_number(value: object) -> bool:
    """Return whether value is a real number of Python or NumPy; booleans are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
