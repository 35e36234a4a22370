"""The one error that a user's mistake raises."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: one line that names the field, the value received and the remedy."""
