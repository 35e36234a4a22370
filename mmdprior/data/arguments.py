"""Checks of the arguments of sources, each with a one-line `InputError` that names the argument."""

import operator

from mmdprior.errors import InputError

__all__ = ["check_count"]


def check_count(name: str, value: object) -> None:
    """Raise `InputError` unless a value is an integer of at least 1; NumPy's integers count too.

    Args:
        name: argument name for the error.
        value: value to check.
    """
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"{name}: {value!r} received; give an integer of at least 1")
