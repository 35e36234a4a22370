"""Latent codes in files: arrays, tables of numbers, and the output of ``mmdprior encode``."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.columns import Columns
from mmdprior.data.arrays import read_array
from mmdprior.data.parquet import PARQUET_SUFFIX, parquet_column, read_parquet
from mmdprior.data.table import TABLE_SUFFIXES, read_column, read_lines, read_table
from mmdprior.errors import InputError, reason
from mmdprior.latent import Latent
from mmdprior.precision import to_numbers

__all__ = ["read_codes", "read_labels", "read_latent"]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ARRAY_SUFFIXES = (".npy", ".npz")
_NPY_MAGIC = b"\x93NUMPY"


def read_codes(path: str | Path) -> Tensor:
    """Read the codes of a file into memory: the means of `read_latent`."""
    return read_latent(path).mean.clone()


def read_latent(
    path: str | Path,
    limit: int | None = None,
    leave_out: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Latent:
    """Read codes from a ``.npy``, ``.npz``, ``.pt``, ``.csv``, ``.tsv``, ``.txt`` or ``.parquet`` file.

    ``.npy`` and ``.pt`` files are memory-mapped, so that at most one copy of the codes is in memory.
    Floating dtypes are kept, others become float.

    Args:
        path: file with one (n, d) array, or with an array named ``codes`` or ``mean`` among several. If
            it has ``mean``, ``sample`` and ``log_var``, as ``mmdprior encode`` writes them, all three are
            returned.
        limit: largest number of rows to read, evenly spaced; by default all.
        leave_out: name of a column of a table that holds no codes, such as labels.
        columns: choice of columns; by default all, but then a table with columns of labels, row numbers or
            times is refused.

    Raises:
        InputError: the file is missing, its content is not plain numbers with two axes, or it is unclear
            which array holds the codes.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data.codes import read_latent
        >>> np.save("codes.npy", np.zeros((100, 8), np.float32))
        >>> read_latent("codes.npy", limit=50).mean.shape
        torch.Size([50, 8])
    """
    content = _read_file(Path(path), leave_out, columns)
    if _is_table(Path(path)):
        columns = Columns()  # already chosen, by name
    if not isinstance(content, Mapping):
        mean = _to_codes(content, str(path), limit, columns)
        return Latent(mean, mean)
    if "mean" in content and "log_var" in content and "sample" in content:
        sample, mean, log_var = (
            _to_codes(content[key], f"{path}: {key}", limit, columns) for key in ("sample", "mean", "log_var")
        )
        shapes = [tuple(part.shape) for part in (sample, mean, log_var)]
        if len(set(shapes)) > 1:
            raise InputError(
                f"{path}: sample, mean and log_var of shapes {shapes} received; give equal shapes"
            )
        return Latent(sample, mean, log_var)
    key = "mean" if "mean" in content else "codes" if "codes" in content else next(iter(content), "")
    if key not in ("mean", "codes") and len(content) != 1:
        raise InputError(f"{path}: arrays {sorted(content)} received; name the codes 'codes'")
    mean = _to_codes(content[key], str(path), limit, columns)
    return Latent(mean, mean)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (*TABLE_SUFFIXES, PARQUET_SUFFIX)


def read_labels(path: str | Path, name: str | None = None) -> np.ndarray | Tensor | list[str] | None:
    """Read one label per row from a file.

    Args:
        path: table or array file. Without a name, a table may have one column only.
        name: name of a column of a table, or of an array among several; by default the only one.

    Returns:
        The labels as they are stored, or None if the file has no column and no array of that name.

    Raises:
        InputError: the file is missing or not readable, or its labels have another shape than (n,).

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.codes import read_labels
        >>> _ = Path("codes.csv").write_text("z0,z1,patient\\n0.5,1,ann\\n2,3,bob\\n")
        >>> read_labels("codes.csv", "patient")
        ['ann', 'bob']
    """
    file = Path(path)
    if file.suffix.lower() == PARQUET_SUFFIX:
        return parquet_column(file, name)
    if file.suffix.lower() in TABLE_SUFFIXES:
        return read_lines(file) if name is None else read_column(file, name)
    content = _read_any(file)
    if isinstance(content, Mapping):
        keys = [name] if name is not None else list(content)
        if name is not None and name not in content:
            return None
        if len(keys) != 1:
            raise InputError(
                f"{path}: arrays {sorted(content)} received; give a file with one array of labels"
            )
        content = content[keys[0]]
    elif name is not None:
        return None
    if content.ndim == 2 and content.shape[1] == 1:
        content = content[:, 0]
    if content.ndim != 1:
        raise InputError(f"{path}: labels of shape {tuple(content.shape)} received; give one label per row")
    return content


def _read_any(path: Path) -> Any:
    """Return an array, a tensor, or all of them by name."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(_NPY_MAGIC))
    if path.suffix in _ARRAY_SUFFIXES or start == _NPY_MAGIC or _is_npz(path):
        return _map_array(path) if path.suffix == ".npy" else read_array(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a bad file
        raise InputError(f"{path}: not a plain tensor ({reason(error)})") from None
    if isinstance(content, Mapping):
        return {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not isinstance(content, Tensor):
        raise InputError(f"{path}: {type(content).__name__} received; give a tensor of labels")
    return content


def _read_file(path: Path, leave_out: str | None, columns: Columns) -> Any:
    """Return an array, a tensor, or several by name; the content counts more than the suffix."""
    if _is_table(path):
        read = read_parquet if path.suffix.lower() == PARQUET_SUFFIX else read_table
        return read(path, leave_out, columns)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(_NPY_MAGIC))
    if path.suffix in _ARRAY_SUFFIXES or start == _NPY_MAGIC or _is_npz(path):
        return _map_array(path) if path.suffix == ".npy" else read_array(path)
    return _read_tensors(path)


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _map_array(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """Return a memory-mapped array, copied on write; a file that cannot be mapped is read instead."""
    try:
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception:  # read_array raises the error that describes the file
        return read_array(path)
    return loaded if isinstance(loaded, np.ndarray) else read_array(path)


def _read_tensors(path: Path) -> Tensor | Mapping[str, Tensor]:
    """Return the tensor of a ``.pt`` file, or its tensors by name if one of them is named as codes."""
    is_zip = zipfile.is_zipfile(path)
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:  # torch.load does not compare checksums
                damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"checksum of {damaged} differs; the file is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # torch raises many types for a bad file
        raise InputError(f"{path}: not a plain tensor ({reason(error)})") from None
    if isinstance(content, Tensor):
        return content
    tensors = isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not {"mean", "codes"} & content.keys():
        raise InputError(f"{path}: {type(content).__name__} received; give one (n, d) tensor")
    return content


def _to_codes(array: np.ndarray | Tensor, name: str, limit: int | None, columns: Columns) -> Tensor:
    """Return columns of at most ``limit`` rows as an (n, d) floating tensor, if possible without a copy."""
    if array.ndim != 2:
        raise InputError(f"{name}: shape {tuple(array.shape)} received; give two axes, (n, d)")
    if limit is not None and len(array) > limit:
        array = array[np.arange(limit) * len(array) // limit]
    if columns.chosen:
        array = array[:, columns.positions(name, array.shape[1])]
    if isinstance(array, Tensor):
        if array.is_complex() or array.is_quantized or array.layout != torch.strided:
            raise InputError(f"{name}: {array.dtype} received; give a dense array of real numbers")
        return array.detach() if array.dtype in _FLOATS else array.float()
    # float32 represents integers of up to 16 bits exactly; wider ones need float64.
    small = array.dtype.kind in "biu" and array.dtype.itemsize <= 2
    numbers = torch.from_numpy(np.asarray(array, np.float32)) if small else to_numbers(array, name)
    return numbers if numbers.dtype in _FLOATS else numbers.double()
