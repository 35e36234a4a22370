"""Tables of numbers in text files."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmdprior.errors import InputError, shorten

__all__ = ["TABLE_SUFFIXES", "read_table"]

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")

_CHUNK_LINES = 20_000
"""Lines parsed at a time; the text of a large file is never in memory as a whole."""

_DELIMITERS = (",", ";", "\t")

_NumberedLine = tuple[int, str]


def read_table(path: str | Path) -> np.ndarray:
    """Read a table of numbers: one row per line, cells separated by commas, semicolons, tabs or spaces.

    The first line is skipped if it is a header: none of its cells is a number, or its cells are 0, 1, 2 and
    so on, which pandas writes for columns without names. Empty lines and lines that start with ``#`` are
    skipped too.

    Args:
        path: text file in UTF-8.

    Returns:
        (n, d) array of float64.

    Raises:
        InputError: the file is missing, not text, has no numbers or an index column, a cell is not a number
            or a line has a different number of cells. The message names the line and the column.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.table import read_table
        >>> _ = Path("codes.csv").write_text("z0,z1\\n0.5,1\\n2,3\\n")
        >>> read_table("codes.csv").tolist()
        [[0.5, 1.0], [2.0, 3.0]]
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline=None) as file:
            lines: Iterator[_NumberedLine] = (
                (number, line)
                for number, line in enumerate(file, 1)
                if line.strip() and not line.startswith("#")
            )
            first = next(lines, None)
            if first is None:
                raise InputError(f"{path}: no numbers; the file is empty")
            delimiter = next((mark for mark in _DELIMITERS if mark in first[1]), None)
            header = _cells(first[1], delimiter)
            _check_no_index(path, header)
            if not _is_header(header):
                lines = itertools.chain([first], lines)
            blocks: list[np.ndarray] = []
            while chunk := list(itertools.islice(lines, _CHUNK_LINES)):
                blocks.append(_parse(path, chunk, delimiter, blocks[0].shape[1] if blocks else None))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; give a table of numbers") from None
    if not blocks:
        raise InputError(f"{path}: no numbers below the header")
    return np.concatenate(blocks)


def _parse(
    path: str | Path, lines: list[_NumberedLine], delimiter: str | None, width: int | None
) -> np.ndarray:
    """Return the numbers of some lines; ``width`` is the number of columns, None in the first chunk."""
    block, problem = None, ""
    try:
        block = np.loadtxt(
            [line for _, line in lines], delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        problem = shorten(str(error))
    if block is not None and width in (None, block.shape[1]):
        return block
    # Slow second pass, only to name the line and the column of the error.
    width = width or len(_cells(lines[0][1], delimiter))
    for number, line in lines:
        cells = _cells(line, delimiter)
        if len(cells) != width:
            raise InputError(f"{path}: line {number}: {len(cells)} cells where others have {width}")
        for column, cell in enumerate(cells, 1):
            if not _is_number(cell):
                raise InputError(
                    f"{path}: line {number}, column {column}: {shorten(cell)!r} received; give a number in "
                    "every cell"
                )
    raise InputError(f"{path}: not a table of numbers ({problem})")


def _check_no_index(path: str | Path, header: list[str]) -> None:
    """Raise `InputError` for an index column, which would be scored as if it were a code dimension."""
    if len(header) > 1 and (header[0] == "" or header[0].startswith("Unnamed: 0")):
        raise InputError(
            f"{path}: line 1, column 1: no name; it looks like the index that pandas writes, save with "
            "index=False"
        )


def _is_header(cells: list[str]) -> bool:
    numbered = len(cells) > 1 and cells == [str(column) for column in range(len(cells))]
    return numbered or not any(_is_number(cell) for cell in cells)


def _cells(line: str, delimiter: str | None) -> list[str]:
    cells = line.split() if delimiter is None else next(csv.reader([line.rstrip("\n")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
