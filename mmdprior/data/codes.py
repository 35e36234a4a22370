"""Codes in files: arrays and tables of numbers, and what ``mmdprior encode`` writes."""

import csv
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.arrays import read_array
from mmdprior.errors import InputError, reason, shorten
from mmdprior.latent import Latent
from mmdprior.precision import to_numbers

__all__ = ["TABLE_SUFFIXES", "read_codes", "read_latent", "read_table"]

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
            lines = _numbered_lines(file)
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


def _numbered_lines(file: Iterable[str]) -> Iterator[tuple[int, str]]:
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
        block, told = None, shorten(str(error))
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
                    f"{path}: line {number}, column {column}: {shorten(cell)!r} received; give a number in "
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


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ARRAYS = (".npy", ".npz")


def read_codes(path: str | Path) -> Tensor:
    """Read one (n, d) array of numbers into memory; see `read_latent`, of whose codes these are the means."""
    return read_latent(path).mean.clone()


def read_latent(path: str | Path, limit: int | None = None) -> Latent:
    """Read codes from ``.npy``, ``.npz``, ``.pt``, ``.csv``, ``.tsv`` or ``.txt``.

    Arrays are memory-mapped where their file allows it (``.npy`` and ``.pt``), so codes that fit in
    memory once are enough; floating types stay what they are, others become float.

    Args:
        path: with one array, or with ``codes`` or ``mean`` among several; where ``sample`` and
            ``log_var`` stand beside ``mean``, as in what ``mmdprior encode`` writes, they are kept.
        limit: take so many rows, evenly spaced.

    Raises:
        InputError: missing, not plain numbers, not two axes, or not exactly one array of codes.
    """
    content = _content(Path(path))
    if not isinstance(content, Mapping):
        mean = _numbers(content, str(path), limit)
        return Latent(mean, mean)
    if "mean" in content and "log_var" in content and "sample" in content:
        parts = [_numbers(content[key], f"{path}: {key}", limit) for key in ("sample", "mean", "log_var")]
        if len({part.shape for part in parts}) > 1:
            raise InputError(f"{path}: sample, mean and log_var of shapes {[tuple(p.shape) for p in parts]}")
        return Latent(*parts)
    key = "mean" if "mean" in content else "codes" if "codes" in content else next(iter(content), "")
    if key not in ("mean", "codes") and len(content) != 1:
        raise InputError(f"{path}: arrays {sorted(content)} found; name the codes 'codes'")
    mean = _numbers(content[key], str(path), limit)
    return Latent(mean, mean)


def _content(path: Path) -> Any:
    """Return an array, a tensor, or several by name, whatever the file's name says of its content."""
    if path.suffix.lower() in TABLE_SUFFIXES:
        return read_table(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(6)
    if path.suffix in _ARRAYS or start == b"\x93NUMPY" or _is_npz(path):
        return _mapped(path) if path.suffix == ".npy" else read_array(path)
    return _read_tensors(path)


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _mapped(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Map a file into memory, copying what is written to; arrays that cannot be are read."""
    try:
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception:  # whatever is wrong with it is told by the plain reader
        return read_array(path)
    return loaded if isinstance(loaded, np.ndarray) else read_array(path)


def _read_tensors(path: Path) -> Tensor | Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises many kinds for a bad file
        raise InputError(f"{path}: not a plain tensor ({reason(error)})") from None
    if isinstance(content, Tensor):
        return content
    tensors = isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not {"mean", "codes"} & content.keys():
        raise InputError(f"{path}: {type(content).__name__} found; give one (n, d) tensor")
    return content


def _numbers(array: np.ndarray | Tensor, name: str, limit: int | None) -> Tensor:
    """Return an (n, d) tensor of some floating type, thinned, without a copy where there need be none."""
    if array.ndim != 2:
        raise InputError(f"{name}: shape {tuple(array.shape)} received; give two axes, (n, d)")
    if limit is not None and len(array) > limit:
        array = array[np.arange(limit) * len(array) // limit]
    if isinstance(array, Tensor):
        if array.is_complex() or array.is_quantized or array.layout != torch.strided:
            raise InputError(f"{name}: {array.dtype} received; give a dense array of real numbers")
        return array.detach() if array.dtype in _FLOATS else array.float()
    small = array.dtype.kind in "biu" and array.dtype.itemsize <= 2
    numbers = torch.from_numpy(np.asarray(array, np.float32)) if small else to_numbers(array, name)
    return numbers if numbers.dtype in _FLOATS else numbers.double()
