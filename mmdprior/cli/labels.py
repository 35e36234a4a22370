"""Labels on the command line, as LABEL=VALUE."""

from collections.abc import Sequence

from mmdprior.errors import InputError

__all__ = ["label_pairs"]


def label_pairs(texts: Sequence[str]) -> dict[str, float]:
    """Return the values of labels by name.

    Raises:
        InputError: a text that is not LABEL=VALUE with a number.
    """
    pairs = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            pairs[name] = float(value if "_" not in value else "")  # float() reads 1_0 as 10
        except ValueError:
            raise InputError(
                f"--given: {text!r} received; give LABEL=VALUE with a number, such as digit=3"
            ) from None
    return pairs
