"""Messages to users in one line: `InputError`, `InputWarning`, the log of data sets, and helpers."""

import difflib
import operator
import re
from collections.abc import Iterable

__all__ = [
    *("DATA_LOG", "InputError", "InputWarning", "check_integer"),
    *("in_one_line", "nearest", "reason", "shorten"),
]

DATA_LOG = "mmdprior.data"
"""Name of the logger of what was read of each data set, in one line that commands print."""

_MAX_LENGTH = 120


class InputError(ValueError):
    """Invalid input.

    The message is one line that names the field, the value received and what to give instead. Commands
    print the message without a traceback and exit with status 2.

    Example:
        >>> from mmdprior import InputError
        >>> raise InputError("batch_size: 0 received; give at least 1")
        Traceback (most recent call last):
        mmdprior.errors.InputError: batch_size: 0 received; give at least 1
    """


class InputWarning(UserWarning):
    """Input that is accepted but doubtful, described in one line. Commands print it and continue."""


def check_integer(name: str, value: object, least: int | None = 1) -> int:
    """Return a value as an integer; the integers of NumPy and torch are accepted.

    Args:
        name: name of the argument in the error.
        value: value to check.
        least: smallest value; None for no limit.

    Raises:
        InputError: the value is not an integer, or too small.

    Example:
        >>> from mmdprior.errors import check_integer
        >>> check_integer("folds", 1.0)
        Traceback (most recent call last):
        mmdprior.errors.InputError: folds: 1.0 received; give an integer of at least 1
    """
    try:
        integer = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        integer = None
    if integer is None or (least is not None and integer < least):
        limit = "" if least is None else f" of at least {least}"
        raise InputError(f"{name}: {shorten(repr(value))} received; give an integer{limit}") from None
    return integer


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest known word, or all known words.

    Example:
        >>> from mmdprior.errors import nearest
        >>> nearest("cosin", ["constant", "cosine"])
        "did you mean 'cosine'?"
        >>> nearest("step", ["linear", "sudden"])
        'known: linear, sudden'
    """
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options) or 'none'}"


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    lines = _without_number(error).strip().splitlines()
    return shorten(lines[0]) if lines else type(error).__name__


def in_one_line(error: BaseException) -> str:
    """Return the whole message of an exception in one line."""
    return " ".join(_without_number(error).split())


def _without_number(error: BaseException) -> str:
    """Return the message of an exception, without the number of an error of the operating system."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))


def shorten(text: str) -> str:
    """Return text cut to 120 characters, so that it fits in a one-line error."""
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "..."
