"""The one error that a user's mistake raises, and how other errors are told in one line."""

__all__ = ["InputError", "reason", "shorten"]

_LONGEST = 120


class InputError(ValueError):
    """Bad input: one line that names the field, the value received and the remedy."""


def reason(error: BaseException) -> str:
    """Return an error's first line, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0]) if lines else type(error).__name__


def shorten(text: str) -> str:
    """Return text cut to what fits in an error of one line."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
