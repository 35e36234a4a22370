"""Tables of factors that an option names, with one row per scored code."""

from collections.abc import Callable

import numpy as np

from mmdprior.data.factor_files import read_factors
from mmdprior.errors import InputError

__all__ = ["NO_FACTORS", "factors_of_codes", "factors_of_images"]

NO_FACTORS = "none"
"""Value of the option for no supervised scores."""

_Table = dict[str, np.ndarray]


def factors_of_codes(location: str, scored: int, rows: Callable[[], int]) -> _Table:
    """Return the factors of the rows of a file of codes.

    Args:
        location: ``FILE`` or ``FILE:KEY``, with one row per scored code, or one per row of the file of codes.
        scored: number of codes that are scored, evenly spaced.
        rows: function that returns the number of rows of the file of codes.

    Raises:
        InputError: the file cannot be read, or has another number of rows.
    """
    table = read_factors(location)
    if _length(table) == scored:
        return table
    return _thinned(table, location, rows(), scored, "")


def factors_of_images(location: str, images: int, scored: int, split: str | None) -> _Table:
    """Return the factors of images.

    Args:
        location: ``FILE`` or ``FILE:KEY``, with one row per scored image, or one per image of the split.
        images: number of images of the split.
        scored: number of images that are scored, evenly spaced.
        split: name of the split, or None for the default one.

    Raises:
        InputError: the file cannot be read, or has another number of rows.
    """
    table = read_factors(location)
    if _length(table) == scored:
        return table
    return _thinned(table, location, images, scored, "" if split == "all" else ", or score --split all")


def _thinned(table: _Table, location: str, rows: int, scored: int, remedy: str) -> _Table:
    """Return the rows that remain after thinning."""
    if _length(table) != rows:
        counts = str(scored) if rows == scored else f"{scored} scored, of {rows}"
        raise InputError(
            f"--factors: {location}: {_length(table)} rows for {counts} codes; give one row per code, in "
            f"their order{remedy}"
        )
    kept = np.arange(scored) * rows // scored
    return {name: column[kept] for name, column in table.items()}


def _length(table: _Table) -> int:
    return len(next(iter(table.values())))
