"""Tables in Parquet and Feather files and in Hugging Face data sets, read by pyarrow."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdprior.columns import Columns
from mmdprior.errors import InputError, reason, shorten

__all__ = ["ARROW_SUFFIXES", "arrow_cells", "arrow_column", "is_arrow", "read_arrow"]

ARROW_SUFFIXES = (".parquet", ".feather", ".arrow")
_DATA_SET_FILES = ("dataset_info.json", "dataset_dict.json")
"""Files in a folder that ``datasets.Dataset.save_to_disk`` has written."""


def is_arrow(path: str | Path) -> bool:
    """Return whether a path is a Parquet, Feather or Arrow file, or the folder of a Hugging Face data set."""
    file = Path(path)
    if file.is_dir():
        return any((file / name).is_file() for name in _DATA_SET_FILES)
    return file.suffix.lower() in ARROW_SUFFIXES


def read_arrow(
    path: str | Path,
    leave_out: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
    key: str | None = None,
) -> np.ndarray:
    """Read the codes of a table: numeric columns, or one column whose cells are vectors.

    Missing values become NaN.

    Args:
        path: file, or folder of a data set.
        leave_out: name of a column to leave out.
        columns: choice of columns; without one, columns of labels, row numbers and times are refused, see
            `mmdprior.columns`. Of a column of vectors it chooses among their entries.
        key: name of a column of vectors; in a data set with several splits ``split/column`` or ``split``.
            None takes the only column of vectors, or all numeric columns.

    Returns:
        (n, d) array.

    Raises:
        InputError: the file is missing or damaged, pyarrow or datasets is not installed, or a column is not
            numeric.
    """
    table, key = _open(path, key)
    names = [str(name) for name in table.column_names]
    vectors = [name for name in names if _is_vectors(table, name) and name != leave_out]
    if key is not None and key not in names:
        raise InputError(f"--key: {key!r} received for {path}; its columns are {shorten(', '.join(names))}")
    if key is not None or (len(vectors) == 1 and not columns.chosen):
        return _vectors(table, key or vectors[0], path, columns)
    if leave_out is not None and leave_out not in names:
        raise InputError(f"{path}: no column {leave_out!r}; its columns are {', '.join(names)}")
    without = None if leave_out is None else names.index(leave_out)
    positions = columns.positions(str(path), len(names), names, without)
    kept = [names[position] for position in positions]
    if vectors and set(vectors) & set(kept):
        raise InputError(f"{path}: columns of vectors {vectors} received; give one of them to --key")
    values = [np.asarray(table.column(position).to_numpy()) for position in positions]
    text = [name for name, column in zip(kept, values, strict=True) if column.dtype.kind not in "fiub"]
    if text:
        raise InputError(f"{path}: columns {text} are not numeric; leave them out with --drop")
    array = np.stack(values, 1)
    columns.check_counting(str(path), torch.from_numpy(array.astype(float, copy=False)), kept)
    return array


def arrow_column(path: str | Path, name: str | None) -> list[str] | None:
    """Read the values of a named column, or of the only one, as text; None if there is no such column."""
    table, _ = _open(path, None)
    if name is None and len(table.column_names) == 1:
        name = table.column_names[0]
    if name not in table.column_names:
        return None
    return [str(value) for value in table.column(name).to_pylist()]


def arrow_cells(path: str | Path) -> dict[str, list[str]]:
    """Read all columns by name as text; missing values are empty, and booleans 0 and 1."""
    table, _ = _open(path, None)
    cells = {str(name): table.column(name).to_pylist() for name in table.column_names}
    return {name: [_text(value) for value in column] for name, column in cells.items()}


def _text(value: object) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def _is_vectors(table: Any, name: str) -> bool:
    from pyarrow import types

    kind = table.column(name).type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _vectors(table: Any, name: str, path: str | Path, columns: Columns) -> np.ndarray:
    """Return the cells of a column of vectors as rows."""
    if not _is_vectors(table, name):
        raise InputError(
            f"--key: {name!r} of {path} holds {table.column(name).type}; give a column of vectors"
        )
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise InputError(
            f"{path}: {name}: {column.null_count} of {len(column)} cells are missing; remove them"
        )
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    lengths = {len(cell) for cell in column} if len(column) else {0}
    if len(lengths) > 1:
        raise InputError(f"{path}: {name}: vectors of different lengths received; give one length")
    array = numbers.reshape(len(column), -1)
    return array[:, columns.positions(str(path), array.shape[1])] if columns.chosen else array


def _open(path: str | Path, key: str | None) -> tuple[Any, str | None]:
    """Return a table, and the name of a column in it."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; give a .parquet or .feather file, or a data set folder")
    try:
        from pyarrow import feather, parquet
    except ImportError:
        raise InputError(f'{path}: needs pyarrow; pip install "mmdprior[tables]", or save .npy') from None
    if Path(path).is_dir():
        return _data_set(path, key)
    try:
        if Path(path).suffix.lower() == ".parquet":
            return parquet.read_table(path), key
        return feather.read_table(path), key
    except Exception as error:  # pyarrow raises many types for a bad file
        kind = "Parquet" if Path(path).suffix.lower() == ".parquet" else "Feather"
        raise InputError(f"{path}: not a {kind} file ({reason(error)})") from None


def _data_set(path: str | Path, key: str | None) -> tuple[Any, str | None]:
    """Return the table of a data set, and the name of a column in it."""
    try:
        import datasets
    except ImportError:
        raise InputError(f'{path}: needs datasets; pip install "mmdprior[tables]", or save .npy') from None
    try:
        content = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises many types for a bad folder
        raise InputError(f"{path}: a data set that cannot be read ({reason(error)})") from None
    if isinstance(content, datasets.DatasetDict):
        split, _, column = (key or "").partition("/")
        split = split if key else next(iter(content)) if len(content) == 1 else ""
        if split not in content:
            raise InputError(
                f"{path}: splits {', '.join(content)} received; give --key SPLIT or SPLIT/COLUMN"
            )
        content, key = content[split], column or None
    return content.with_format("arrow")[:], key
