"""Numbers in text files: CSV and its relatives."""

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mmdprior.errors import InputError, shown

__all__ = ["TABLE_SUFFIXES", "read_table"]

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")

_LINES = 20_000
_DELIMITERS = (",", ";", "\t")


def read_table(path: str | Path) -> np.ndarray:
    """Read a table of numbers: a row a line, cells apart by commas, semicolons, tabs or blanks.

    A first line of names is skipped: no cell of it is a number, or it counts the columns from 0, as
    pandas writes columns without names. Empty lines and those that begin with ``#`` are skipped too.

    Raises:
        InputError: no such file, no text, no numbers, an index column, or a cell that is no number or
            a line of another length, named by line and column.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline=None) as file:
            lines = _content(file)
            first = next(lines, None)
            if first is None:
                raise InputError(f"{path}: no numbers; the file is empty")
            delimiter = next((mark for mark in _DELIMITERS if mark in first[1]), None)
            names = _cells(first[1], delimiter)
            _refuse_index(path, names)
            if not _is_header(names):
                lines = itertools.chain([first], lines)
            blocks: list[np.ndarray] = []
            while chunk := list(itertools.islice(lines, _LINES)):
                blocks.append(_parse(path, chunk, delimiter, blocks[0].shape[1] if blocks else None))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; give a table of numbers") from None
    if not blocks:
        raise InputError(f"{path}: no numbers below the header")
    return np.concatenate(blocks)


def _content(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers from 1."""
    return ((i, line) for i, line in enumerate(file, 1) if line.strip() and not line.startswith("#"))


def _parse(
    path: str | Path, lines: list[tuple[int, str]], delimiter: str | None, width: int | None
) -> np.ndarray:
    try:
        block = np.loadtxt(
            [line for _, line in lines], delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        block, told = None, shown(str(error))
    if block is not None and width in (None, block.shape[1]):
        return block
    width = width or len(_cells(lines[0][1], delimiter))
    for number, line in lines:
        cells = _cells(line, delimiter)
        if len(cells) != width:
            raise InputError(f"{path}: line {number}: {len(cells)} cells where others have {width}")
        for column, cell in enumerate(cells, 1):
            if not _is_number(cell):
                raise InputError(
                    f"{path}: line {number}, column {column}: {shown(cell)!r} received; give a number in "
                    "every cell"
                )
    raise InputError(f"{path}: not a table of numbers ({told})")


def _refuse_index(path: str | Path, names: list[str]) -> None:
    """A row number scored as a code would be a wrong number without a word."""
    if len(names) > 1 and (names[0] == "" or names[0].startswith("Unnamed: 0")):
        raise InputError(
            f"{path}: line 1, column 1: no name; it looks like the index that pandas writes, save with "
            "index=False"
        )


def _is_header(names: list[str]) -> bool:
    counted = len(names) > 1 and names == [str(column) for column in range(len(names))]
    return counted or not any(_is_number(name) for name in names)


def _cells(line: str, delimiter: str | None) -> list[str]:
    cells = line.split() if delimiter is None else next(csv.reader([line.rstrip("\n")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
