"""Tables of numbers in text files."""

import bz2
import csv
import gzip
import itertools
import lzma
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch

from mmdprior.columns import Columns
from mmdprior.errors import InputError, InputWarning, reason, shorten

__all__ = [
    "TABLE_SUFFIXES",
    "is_table",
    "parse_number",
    "read_cells",
    "read_column",
    "read_header",
    "read_lines",
    "read_table",
]

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_OPENERS: Mapping[str, Callable[..., IO[str]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Functions that open compressed text, by suffix."""

_CHUNK_LINES = 20_000
"""Lines parsed at a time; the text of a large file is never in memory as a whole."""

_DELIMITERS = (",", ";", "\t")

_MIN_ROWS = 10
"""Rows below the first one that are needed to call its numbers unusual."""

_NumberedLine = tuple[int, str]


def is_table(path: str | Path) -> bool:
    """Return whether a file is a table of text by its name, such as ``z.csv`` or ``z.csv.gz``.

    Example:
        >>> from mmdprior.data.table import is_table
        >>> is_table("z.tsv.gz"), is_table("z.npy.gz")
        (True, False)
    """
    file = Path(path)
    file = file.with_suffix("") if file.suffix.lower() in _OPENERS else file
    return file.suffix.lower() in TABLE_SUFFIXES


def parse_number(cell: str) -> float:
    """Return the number in a cell of a table; unlike ``float``, without underscores such as ``1_0``.

    Raises:
        ValueError: the cell is not a number.

    Example:
        >>> from mmdprior.data.table import parse_number
        >>> parse_number("1e3")
        1000.0
        >>> parse_number("1_0")
        Traceback (most recent call last):
        ValueError: could not convert string to float: '1_0'
    """
    if "_" in cell:
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def read_table(
    path: str | Path,
    leave_out: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> np.ndarray:
    """Read a table of numbers: one row per line, cells separated by commas, semicolons, tabs or spaces.

    The first line is skipped if it is a header: none of its cells is a number, or its cells are 0, 1, 2 and
    so on, which pandas writes for columns without names. Empty lines and lines that start with ``#`` are
    skipped too. Other numbers in the first line are data, with an `InputWarning` if they look like names such
    as wavelengths: in order, and far from the numbers below them.

    Args:
        path: text file in UTF-8.
        leave_out: name of a column to leave out, which may hold text.
        columns: choice of columns; those that are left out may hold text.

    Returns:
        (n, d) array of float64.

    Raises:
        InputError: the file is missing, not text or has no numbers, a cell is not a number or a line has a
            different number of cells. The message names the line and the column. Without a choice of
            columns, labels, row numbers and times are refused, see `mmdprior.columns`.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.table import read_table
        >>> _ = Path("codes.csv").write_text("z0,z1\\n0.5,1\\n2,3\\n")
        >>> read_table("codes.csv").tolist()
        [[0.5, 1.0], [2.0, 3.0]]
    """
    with _opened(path) as (lines, header, delimiter):
        names = header if _is_header(header) else None
        kept = columns.positions(str(path), len(header), names, _position(path, header, leave_out))
        left_out = [position for position in range(len(header)) if position not in kept]
        blocks: list[np.ndarray] = []
        while chunk := list(itertools.islice(lines, _CHUNK_LINES)):
            if left_out:
                chunk = [(number, _without(line, delimiter, left_out)) for number, line in chunk]
            blocks.append(_parse(path, chunk, delimiter, blocks[0].shape[1] if blocks else None))
    if not blocks:
        raise InputError(f"{path}: no numbers below the header")
    table = np.concatenate(blocks)
    table = np.delete(table, left_out, axis=1) if left_out else table
    if names is None and _starts_with_names(table):
        cells = shorten(", ".join(header[position] for position in kept))
        warnings.warn(
            f"{path}: first row {cells} received, which is read as data but may be column names; put a "
            "letter before each name if it is",
            InputWarning,
            stacklevel=2,
        )
    kept_names = None if names is None else [names[position] for position in kept]
    columns.check_counting(str(path), torch.from_numpy(table), kept_names)
    return table


def read_column(path: str | Path, name: str) -> list[str] | None:
    """Read the cells of a named column of a table; None if the table has no column of that name.

    Args:
        path: text file in UTF-8.
        name: name of the column in the header.

    Raises:
        InputError: the file is missing or not text, or a line has no cell in the column.
    """
    with _opened(path) as (lines, header, delimiter):
        if not _is_header(header) or name not in header:
            return None
        column, values = header.index(name), []
        for number, line in lines:
            cells = _cells(line, delimiter)
            if len(cells) <= column:
                raise InputError(f"{path}: line {number}: {len(cells)} cells where others have {len(header)}")
            values.append(cells[column])
    return values


def read_header(path: str | Path) -> list[str]:
    """Return one name per column of a table; numbers from 0 if it has no header.

    Raises:
        InputError: the file is missing, empty or not text.
    """
    with _opened(path) as (_, header, _):
        return header if _is_header(header) else [str(column) for column in range(len(header))]


def read_cells(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Read the header and the cells of a table of text and numbers.

    Raises:
        InputError: the file is missing, empty or not text, its first line is no header of different names, or
            a line has another number of cells.
    """
    with _opened(path) as (lines, header, delimiter):
        if not _is_header(header) or len(set(header)) < len(header):
            names = shorten(", ".join(header))
            raise InputError(f"{path}: first line {names!r} received; give a header with different names")
        rows = []
        for number, line in lines:
            cells = _cells(line, delimiter) if len(header) > 1 else [line.strip().strip('"')]
            if len(cells) != len(header):
                raise InputError(
                    f"{path}: line {number}: {len(cells)} cells where the header has {len(header)}"
                )
            rows.append(cells)
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    return header, rows


def read_lines(path: str | Path) -> list[str]:
    """Read a table of one column, of text or numbers, with a header if its first cell is the only text.

    Raises:
        InputError: the file is missing, empty or not text, or has several columns.
    """
    try:
        with _open_text(path) as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a text file with one label per line") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; give one label per line") from None
    values = [line for line in lines if line and not line.startswith("#")]
    if not values:
        raise InputError(f"{path}: no labels; the file is empty")
    several = [mark for mark in _DELIMITERS if all(mark in value for value in values)]
    if several:
        raise InputError(f"{path}: several columns received; give one label per line")
    text = [not _is_number(value) for value in values]
    return values[1:] if text[0] and not any(text[1:]) else values


@contextmanager
def _open_text(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file, compressed or not; raise `InputError` where it is damaged."""
    opener = _OPENERS.get(Path(path).suffix.lower(), open)
    try:
        with opener(path, mode="rt", encoding="utf-8-sig", newline=None) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path}: damaged ({reason(error)}); copy the file again") from None
    except OSError as error:
        if opener is not bz2.open or error.strerror is not None:
            raise
        raise InputError(f"{path}: damaged ({reason(error)}); copy the file again") from None


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Iterator[_NumberedLine], list[str], str | None]]:
    """Open a table; give its lines below the header, the cells of its first line, and the delimiter."""
    try:
        with _open_text(path) as file:
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
            yield lines if _is_header(header) else itertools.chain([first], lines), header, delimiter
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a table of numbers, such as .csv") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; give a table of numbers") from None


def _position(path: str | Path, header: list[str], name: str | None) -> int | None:
    """Return the position of a named column, or None without a name."""
    if name is None:
        return None
    if not _is_header(header) or name not in header:
        raise InputError(f"{path}: no column {name!r}; its first line is {shorten(', '.join(header))}")
    return header.index(name)


def _without(line: str, delimiter: str | None, columns: Sequence[int]) -> str:
    """Return a line with 0 in some columns, so that positions and numbers of cells stay the same."""
    cells = _cells(line, delimiter)
    for column in columns:
        if column < len(cells):
            cells[column] = "0"
    return (delimiter or " ").join(cells)


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
                    "every cell, or leave the column out with --drop"
                )
    raise InputError(f"{path}: not a table of numbers ({problem})")


def _starts_with_names(table: np.ndarray) -> bool:
    """Return whether the first row of a table may be names of columns, such as wavelengths.

    Its numbers are strictly monotone, and most of them are outside the range of the rows below by more than
    half of the width of that range. Columns that are sorted over all rows, such as times, do not count.
    """
    first, rest = table[0], table[1:]
    if len(first) < 3 or len(rest) < _MIN_ROWS:
        return False
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is reported by the reader of the data
        order = np.diff(first)
        if not ((order > 0).all() or (order < 0).all()):
            return False
        low, high = rest.min(0), rest.max(0)
        outside = np.maximum(low - first, first - high) > (high - low) / 2
        steps = np.diff(rest, axis=0)
        outside &= (high == low) | ~((steps >= 0).all(0) | (steps <= 0).all(0))
    return int(outside.sum()) * 2 > len(first)


def _is_header(cells: list[str]) -> bool:
    numbered = len(cells) > 1 and cells == [str(column) for column in range(len(cells))]
    return numbered or not any(_is_number(cell) for cell in cells)


def _cells(line: str, delimiter: str | None) -> list[str]:
    cells = line.split() if delimiter is None else next(csv.reader([line.rstrip("\n")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        parse_number(cell)
    except ValueError:
        return False
    return True
