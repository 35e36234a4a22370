"""Vectors and signals in arrays and tables."""

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from mmdprior.columns import Columns, counting_columns, doubtful_names
from mmdprior.data.source import SampleKind
from mmdprior.data.table import read_header, read_table
from mmdprior.errors import InputError

__all__ = ["FEATURE_KEYS", "check_resolution", "kind_of_array", "read_features", "to_samples"]

FEATURE_KEYS: dict[str, SampleKind] = {
    "signals": "signals",
    "vectors": "vectors",
    "features": "vectors",
    "mean": "vectors",
}
"""Names of arrays that are not images, and what their rows are; ``mean`` is that of ``mmdprior encode``."""

_RESOLUTION = 0.1
"""Largest step of float32, in standard deviations of a feature."""
_MIN_ROWS = 10
"""Rows from which the standard deviation of a feature is known well enough to refuse it."""


def kind_of_array(key: str, array: np.ndarray, image_keys: Collection[str]) -> SampleKind:
    """Return what the rows of an array are, by its name and its number of axes.

    Two axes are vectors. Three axes are images without channels, unless the array is called ``signals``.

    Args:
        key: name of the array; empty for a file of one array.
        array: the array.
        image_keys: names of arrays of images.
    """
    if key in FEATURE_KEYS:
        return FEATURE_KEYS[key]
    return "vectors" if array.ndim == 2 and key not in image_keys else "images"


def to_samples(path: str, array: np.ndarray, kind: SampleKind) -> Tensor:
    """Return vectors (n, p) or signals (n, c, t) as float32; two axes of signals are one channel.

    Args:
        path: file, for errors.
        array: numbers as they are stored.
        kind: ``vectors`` or ``signals``.

    Raises:
        InputError: another number of axes, or entries that are no numbers.
    """
    if array.dtype.kind not in "buif":
        raise InputError(f"{path}: {kind} of type {array.dtype} received; give numbers")
    axes = {"vectors": (2,), "signals": (2, 3)}[kind]
    if array.ndim not in axes or array.size == 0:
        wanted = {"vectors": "(n, features)", "signals": "(n, channels, length) or (n, length)"}[kind]
        raise InputError(f"{path}: {kind} of shape {array.shape} received; give {wanted}")
    array = array[:, None] if kind == "signals" and array.ndim == 2 else array
    with np.errstate(over="ignore"):  # infinity is reported with its row
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def check_resolution(path: str, array: np.ndarray, kind: SampleKind) -> None:
    """Check that float32 resolves each feature of vectors, or each channel of signals.

    Constant features, and arrays of fewer than 10 rows, are not checked.

    Args:
        path: file, for errors.
        array: numbers as they are stored, of the axes that `to_samples` accepts.
        kind: ``vectors`` or ``signals``.

    Raises:
        InputError: at the largest magnitude of a feature, float32 has steps of more than 10 % of its standard
            deviation.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data.features import check_resolution
        >>> check_resolution("off.npy", np.arange(20.0)[:, None] + [0, 1e9], "vectors")
        Traceback (most recent call last):
        mmdprior.errors.InputError: off.npy: feature 1: standard deviation 5.76628 at mean 1e+09 is too small
        for float32; subtract its mean
    """
    if array.dtype.kind not in "uif" or array.dtype.itemsize < 4 or array.dtype == np.float32:
        return
    if len(array) < _MIN_ROWS:
        return
    array = array[:, None] if kind == "signals" and array.ndim == 2 else array
    for i in range(array.shape[1]):
        with np.errstate(invalid="ignore", over="ignore"):  # infinity is reported with its row
            column = array[:, i].astype(np.float64)
            mean, std, largest = column.mean(), column.std(), np.abs(column).max()
            varies = std > 8 * np.finfo(np.float64).eps * largest
            if varies and np.spacing(np.float32(largest)) > _RESOLUTION * std:
                raise InputError(
                    f"{path}: {'channel' if kind == 'signals' else 'feature'} {i}: standard deviation "
                    f"{std:g} at mean {mean:g} is too small for float32; subtract its mean"
                )


def read_features(path: str, drop: Sequence[str | int] | None) -> np.ndarray:
    """Read the features of a table: one row per sample, one column per feature.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` file; see `mmdprior.data.table.read_table`.
        drop: names or positions, from 0, of columns that are no features. With None, a table with columns
            that are labels or row numbers by their names or values is refused.

    Returns:
        (n, p) array of float64.

    Raises:
        InputError: the file is missing or no table of numbers, there is no such column, or a column may be no
            feature.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.features import read_features
        >>> _ = Path("table.csv").write_text("length,width,label\\n0.5,1,0\\n2,3,1\\n")
        >>> read_features("table.csv", drop=["label"]).tolist()
        [[0.5, 1.0], [2.0, 3.0]]
        >>> read_features("table.csv", drop=None)
        Traceback (most recent call last):
        mmdprior.errors.InputError: table.csv: columns ['label'] received, which may be labels or row numbers;
        give drop: [label], or drop: [] if they are features
    """
    names = read_header(path)
    if drop is None:
        _check_columns(path, names, doubtful_names(names))
    columns = Columns(keep=[f"0-{len(names) - 1}"], drop=[str(name) for name in drop or ()])
    try:
        table = read_table(path, columns=columns)
        kept = len(columns.positions(path, len(names), names))
    except InputError as error:  # the message is that of a command line
        raise InputError(str(error).replace("--drop", "drop")) from None
    if table.shape[1] != kept:
        count = len(names) - kept + table.shape[1]
        raise InputError(f"{path}: rows of {count} cells received where the first line has {len(names)}")
    if drop is None:
        _check_columns(path, names, counting_columns(torch.from_numpy(table)))
    return table


def _check_columns(path: str, names: Sequence[str], doubtful: Sequence[int]) -> None:
    if doubtful:
        import yaml

        listed = [i if names[i] in ("", str(i)) else names[i] for i in doubtful]
        option = yaml.safe_dump(listed, default_flow_style=True, allow_unicode=True, width=math.inf).strip()
        raise InputError(
            f"{path}: columns {listed} received, which may be labels or row numbers; give drop: {option}, or "
            "drop: [] if they are features"
        )
