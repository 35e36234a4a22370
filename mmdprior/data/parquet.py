"""Tables in Parquet files, read by pyarrow where it is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdprior.columns import Columns
from mmdprior.errors import InputError, reason

__all__ = ["PARQUET_SUFFIX", "parquet_cells", "parquet_column", "read_parquet"]

PARQUET_SUFFIX = ".parquet"


def read_parquet(
    path: str | Path,
    leave_out: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> np.ndarray:
    """Read the numeric columns of a Parquet file; missing values become NaN.

    Args:
        path: file.
        leave_out: name of a column to leave out.
        columns: choice of columns; without one, columns of labels, row numbers and times are refused, see
            `mmdprior.columns`.

    Returns:
        (n, d) array.

    Raises:
        InputError: the file is missing or damaged, pyarrow is not installed, or a column is not numeric.
    """
    table = _open(path)
    names = [str(name) for name in table.column_names]
    if leave_out is not None and leave_out not in names:
        raise InputError(f"{path}: no column {leave_out!r}; its columns are {', '.join(names)}")
    without = None if leave_out is None else names.index(leave_out)
    positions = columns.positions(str(path), len(names), names, without)
    values = [np.asarray(table.column(position).to_numpy()) for position in positions]
    kept = [names[position] for position in positions]
    text = [name for name, column in zip(kept, values, strict=True) if column.dtype.kind not in "fiub"]
    if text:
        raise InputError(f"{path}: columns {text} are not numeric; leave them out with --drop")
    array = np.stack(values, 1)
    columns.check_counting(str(path), torch.from_numpy(array.astype(float, copy=False)), kept)
    return array


def parquet_column(path: str | Path, name: str | None) -> list[str] | None:
    """Read the values of a named column, or of the only one, as text; None if there is no such column."""
    table = _open(path)
    if name is None and len(table.column_names) == 1:
        name = table.column_names[0]
    if name not in table.column_names:
        return None
    return [str(value) for value in table.column(name).to_pylist()]


def parquet_cells(path: str | Path) -> dict[str, list[str]]:
    """Read all columns by name as text; missing values are empty, and booleans 0 and 1."""
    table = _open(path)
    cells = {str(name): table.column(name).to_pylist() for name in table.column_names}
    return {name: [_text(value) for value in column] for name, column in cells.items()}


def _text(value: object) -> str:
    return "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)


def _open(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{path}: Parquet files need pyarrow; pip install pyarrow, or save .npy") from None
    try:
        return parquet.read_table(path)
    except Exception as error:  # pyarrow raises many types for a bad file
        raise InputError(f"{path}: not a Parquet file ({reason(error)})") from None
