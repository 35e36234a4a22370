"""Tables of factors in files: arrays, and tables with a header."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.columns import counting_columns
from mmdprior.data.arrow import arrow_cells, is_arrow
from mmdprior.data.factor_images import open_hdf5
from mmdprior.data.table import is_table, parse_number, read_cells
from mmdprior.errors import InputError, reason, shorten
from mmdprior.torch_files import load_torch_file

__all__ = [
    "LABEL_KEYS",
    "encode_columns",
    "names_in_key",
    "read_columns",
    "read_factors",
    "split_location",
    "to_column",
]

LABEL_KEYS = ("factors", "latents_classes", "labels", "targets")
"""Names of arrays of labels, the preferred one first."""
_NAME_KEYS = ("factor_names", "label_names")
"""Arrays with one name per column of the factors."""
_HDF5_SUFFIXES = (".h5", ".hdf5", ".h5ad")
_MISSING_TEXTS = ("", "na", "n/a", "nan")
"""Cells without a value, in lower case."""
_MISSING_NUMBERS = (*_MISSING_TEXTS, "null", "none")
"""Those of a column of numbers; among texts, null and none may be categories."""


def read_factors(location: str, option: str = "--factors") -> dict[str, np.ndarray]:
    """Read a table of factors: (n,) numbers or texts by name of the factor.

    Only the arrays that are needed are read, and no pickled objects.

    Args:
        location: ``FILE`` or ``FILE:KEY``. The key is the name of an array of a ``.npz``, ``.h5`` or ``.pt``
            file, or the name of a column of a ``.csv``, ``.tsv``, ``.txt`` or ``.parquet`` table; several
            columns are separated by commas. Without a key, tables are read whole, and the array is the only
            one of its file, or the first one of ``factors``, ``latents_classes``, ``labels`` and ``targets``.
            Arrays are (n,) or (n, factors). Their columns have the names in an array ``factor_names`` or
            ``label_names`` of the same file, otherwise the name of the key and a number.
        option: name of the option or setting in errors.

    Raises:
        InputError: the file is missing, damaged or of another kind, has no such key, or needs one.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.factor_files import read_factors
        >>> _ = Path("factors.csv").write_text("size,shape\\n1,disc\\n2,square\\n,disc\\n")
        >>> read_factors("factors.csv")["size"].tolist(), read_factors("factors.csv:shape")["shape"].tolist()
        ([1.0, 2.0, nan], ['disc', 'square', 'disc'])
    """
    path, key = split_location(location)
    if not path.exists():
        raise InputError(f"{option}: {location!r} received; there is no file {path}")
    suffix = path.suffix.lower()
    try:
        if is_table(path) or is_arrow(path):
            cells = _cells_by_column(path)
            return _chosen({name: to_column(column) for name, column in cells.items()}, key, path)
        if suffix in _HDF5_SUFFIXES:
            with open_hdf5(path) as file:
                return _from_arrays(_datasets(file), lambda name: file[name][()], key, path)
        if suffix in (".pt", ".pth"):
            return _from_tensors(path, key)
        return _from_numpy(path, key)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


def encode_columns(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return columns of numbers or texts as one array of numbers, and the names of those that were text.

    Texts become their position in alphabetical order, and empty ones NaN. The array holds integers if no
    value is missing and all are whole.

    Args:
        columns: (n,) numbers or texts by name, at least one.

    Raises:
        InputError: a number is infinite.
    """
    texts = tuple(name for name, column in columns.items() if column.dtype.kind == "U")
    numbers = np.stack([_positions(c) if c.dtype.kind == "U" else c for c in columns.values()], 1)
    infinite = [name for name, column in zip(columns, numbers.T, strict=True) if np.isinf(column).any()]
    if infinite:
        raise InputError(f"factors: infinity in {infinite[0]!r}; give finite numbers, and none where unknown")
    whole = numbers.dtype.kind != "f" or bool((numbers == np.round(numbers)).all())
    return (numbers.astype(np.int64) if whole else numbers), texts


def to_column(cells: Sequence[str]) -> np.ndarray:
    """Return cells of a table as numbers, or as texts if one is neither a number nor missing.

    Missing cells are NaN among numbers, and empty among texts. ``null`` and ``none`` are missing among
    numbers only.

    Example:
        >>> from mmdprior.data.factor_files import to_column
        >>> to_column(["1", "none", ""]).tolist(), to_column(["hat", "none", ""]).tolist()
        ([1.0, nan, nan], ['hat', 'none', ''])
    """
    texts = [cell.strip() for cell in cells]
    try:
        return np.array([np.nan if t.lower() in _MISSING_NUMBERS else parse_number(t) for t in texts])
    except ValueError:
        return np.array(["" if text.lower() in _MISSING_TEXTS else text for text in texts], dtype=str)


def split_location(location: str, folder: Path | None = None) -> tuple[Path, str | None]:
    """Return file and key of ``FILE`` or ``FILE:KEY``; a file may have a colon in its name.

    Args:
        location: the file with its key.
        folder: folder in which a relative file is looked up first.
    """
    whole = _place(location, folder)
    path, mark, key = location.rpartition(":")
    if not mark or not path or whole.is_file():
        return whole, None
    return _place(path, folder), key


def names_in_key(key: str) -> list[str]:
    """Return the names of columns in a key: separated by commas, with quotes around names with commas.

    Example:
        >>> from mmdprior.data.factor_files import names_in_key
        >>> names_in_key('size, "hue, in degrees"')
        ['size', 'hue, in degrees']
    """
    names = next(csv.reader([key], skipinitialspace=True), [])
    return [name.strip() for name in names] or [key]


def read_columns(path: Path, option: str) -> dict[str, list[str]]:
    """Read a table of text: the cells of every column by its name.

    Args:
        path: a ``.csv``, ``.tsv``, ``.txt`` or ``.parquet`` file.
        option: name of the setting in errors.

    Raises:
        InputError: the file is missing, damaged or no table.
    """
    if not path.is_file():
        raise InputError(f"{option}: {str(path)!r} received; there is no such file")
    if not (is_table(path) or is_arrow(path)):
        raise InputError(f"{option}: {str(path)!r} received; give a .csv, .tsv, .txt or .parquet table")
    try:
        return _cells_by_column(path)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


def _place(name: str, folder: Path | None) -> Path:
    path = Path(name).expanduser()
    return folder / path if folder is not None and (folder / path).is_file() else path


def _cells_by_column(path: Path) -> dict[str, list[str]]:
    if is_arrow(path):
        return arrow_cells(path)
    header, rows = read_cells(path)
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _chosen(columns: dict[str, np.ndarray], key: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the columns that the key names, or all of them if none names or numbers the rows."""
    if key is not None:
        names = names_in_key(key)
        for name in names:
            if name not in columns:
                raise InputError(f"{path}: no column {name!r}; its columns are {shorten(', '.join(columns))}")
        return {name: columns[name] for name in names}
    for name, column in columns.items():
        if identifies_rows(column):
            others = ",".join(other for other in columns if other != name)
            raise InputError(
                f"{path}: every row has another value in column {name!r}; if it is no factor, name those "
                f"that are, {path}:{others or 'COLUMN'}"
            )
    return columns


def identifies_rows(column: np.ndarray) -> bool:
    """Return whether a column names or numbers the rows: texts that all differ, or an index."""
    if column.dtype.kind == "U":
        return 2 < len(column) == len(set(column.tolist()))
    return bool(counting_columns(torch.from_numpy(np.asarray(column, float))[:, None]))


def _from_numpy(path: Path, key: str | None) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _from_arrays([], lambda name: loaded, key, path)
            return _from_arrays(loaded.files, lambda name: loaded[name], key, path)
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise many types
        detail = "pickled objects are never read" if "pickle" in str(error) else reason(error)
        raise InputError(
            f"{path}: no plain numbers ({detail}); give a .npz, .npy, .pt, .h5, .csv, .tsv, .txt or .parquet "
            "file of factors"
        ) from None


def _from_tensors(path: Path, key: str | None) -> dict[str, np.ndarray]:
    content = load_torch_file(path)
    if isinstance(content, Tensor):
        return _from_arrays([], lambda name: content.numpy(), key, path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: {type(content).__name__} received; give tensors by name")
    names = [name for name, value in content.items() if isinstance(value, Tensor)]
    return _from_arrays(names, lambda name: content[name].numpy(), key, path)


def _datasets(file: Any) -> list[str]:
    """Return the paths of all arrays of an HDF5 file."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


def _from_arrays(
    names: Sequence[str], read: Callable[[str], np.ndarray], key: str | None, path: Path
) -> dict[str, np.ndarray]:
    """Return the columns of one array.

    Args:
        names: names of the arrays of the file; none for a file of one array.
        read: function that reads an array.
        key: name of the array; None for the default.
        path: the file, for errors.
    """
    if not names:
        if key is not None:
            raise InputError(f"{path}: key {key!r} received for a file of one array; leave the key out")
        key = "factor"
    elif key is None:
        key = names[0] if len(names) == 1 else next((name for name in LABEL_KEYS if name in names), None)
        if key is None:
            raise InputError(f"{path}: arrays {shorten(', '.join(names))} received; name one, {path}:KEY")
    elif key not in names:
        raise InputError(f"{path}: no array {key!r}; its arrays are {shorten(', '.join(names))}")
    array = np.asarray(read(key))
    array = array.astype(str) if array.dtype.kind == "S" else array
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "biufU":
        raise InputError(
            f"{path}: {key}: shape {array.shape} of {array.dtype} received; give numbers (n, factors)"
        )
    return {name: array[:, i] for i, name in enumerate(_column_names(names, read, key, array.shape[1]))}


def _column_names(
    names: Sequence[str], read: Callable[[str], np.ndarray], key: str, count: int
) -> Sequence[str]:
    for name in _NAME_KEYS:
        if name in names:
            known = [str(text) for text in np.asarray(read(name)).astype(str).flat]
            if len(set(known)) == count == len(known):
                return known
    return [key] if count == 1 else [f"{key}_{i}" for i in range(count)]


def _positions(texts: np.ndarray) -> np.ndarray:
    """Return the position of each text in alphabetical order, NaN for an empty one."""
    order, positions = np.unique(texts, return_inverse=True)
    if order[0] != "":
        return positions
    return np.where(positions == 0, np.nan, positions - 1)
