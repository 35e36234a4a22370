"""Messages to users in one line: `InputError`, `InputWarning`, the log of data sets, and helpers."""

__all__ = ["DATA_LOG", "InputError", "InputWarning", "reason", "shorten"]

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
    """Input that is accepted but doubtful, described in one line. Commands print it, and go on."""


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0]) if lines else type(error).__name__


def shorten(text: str) -> str:
    """Return text cut to 120 characters, so that it fits in a one-line error."""
    return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "..."
