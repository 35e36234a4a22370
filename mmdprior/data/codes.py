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
from mmdprior.data.arrow import arrow_column, is_arrow, read_arrow
from mmdprior.data.hierarchy import is_hierarchy, read_hierarchy, read_hierarchy_labels
from mmdprior.data.table import is_table, read_column, read_lines, read_table
from mmdprior.errors import InputError, shorten
from mmdprior.latent import Latent
from mmdprior.precision import to_numbers
from mmdprior.torch_files import load_torch_file

__all__ = ["is_codes", "read_codes", "read_labels", "read_latent"]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ARRAY_SUFFIXES = (".npy", ".npz")
_NPY_MAGIC = b"\x93NUMPY"


def is_codes(path: str | Path) -> bool:
    """Return whether a file or folder can only hold codes by its name: a table, arrays, a data set.

    Example:
        >>> from mmdprior.data.codes import is_codes
        >>> is_codes("z.csv.gz"), is_codes("z.h5ad"), is_codes("model.pt")
        (True, True, False)
    """
    is_array = Path(path).suffix.lower() in _ARRAY_SUFFIXES
    return is_array or is_table(path) or is_arrow(path) or is_hierarchy(path)


def read_codes(path: str | Path) -> Tensor:
    """Read the codes of a file into memory: the means of `read_latent`."""
    return read_latent(path).mean.clone()


def read_latent(
    path: str | Path,
    limit: int | None = None,
    leave_out: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
    key: str | None = None,
) -> Latent:
    """Read codes from a file of arrays (``.npy``, ``.npz``, ``.pt``), a table, or a data set.

    Tables are ``.csv``, ``.tsv`` and ``.txt``, compressed or not, ``.parquet`` and ``.feather``. HDF5 and
    AnnData files, Zarr stores and folders of Hugging Face data sets need the extra ``tables``.

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
        key: name of the array or of the column of vectors that holds the codes, such as ``obsm/X_pca``; a
            dotted path in nested dicts of a ``.pt`` file. None finds it.

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
    content = _read_file(Path(path), leave_out, columns, key)
    if is_table(path) or is_arrow(path):
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
    name = "mean" if "mean" in content else "codes" if "codes" in content else next(iter(content), "")
    if name not in ("mean", "codes") and len(content) != 1:
        listed = shorten(", ".join(sorted(content)))
        raise InputError(f"{path}: arrays {listed} received; give one of them to --key, or name it 'codes'")
    mean = _to_codes(content[name], str(path), limit, columns)
    return Latent(mean, mean)


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
    if is_arrow(file):
        return arrow_column(file, name)
    if is_hierarchy(file) and name is not None:
        return read_hierarchy_labels(file, name)
    if is_table(file):
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
    if is_hierarchy(path):
        return read_hierarchy(path)
    if _has_arrays(path):
        return _map_array(path) if path.suffix == ".npy" else read_array(path)
    content = _load(path)
    if isinstance(content, Mapping):
        return {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not isinstance(content, Tensor):
        raise InputError(f"{path}: {type(content).__name__} received; give a tensor of labels")
    return content


def _read_file(path: Path, leave_out: str | None, columns: Columns, key: str | None) -> Any:
    """Return an array, a tensor, or several by name; the content counts more than the suffix."""
    if is_arrow(path):
        return read_arrow(path, leave_out, columns, key)
    if is_hierarchy(path):
        return read_hierarchy(path, key)
    if is_table(path):
        if key is not None:
            raise InputError(f"--key: {key!r} received for {path}; a table has columns, give --columns")
        return read_table(path, leave_out, columns)
    if not _has_arrays(path):
        return _read_tensors(path, key)
    content = _map_array(path) if path.suffix == ".npy" else read_array(path)
    return content if key is None else _picked(content, key, path)


def _has_arrays(path: Path) -> bool:
    """Return whether a file is of NumPy; raise `InputError` for a missing file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of codes")
    with path.open("rb") as file:
        start = file.read(len(_NPY_MAGIC))
    return path.suffix in _ARRAY_SUFFIXES or start == _NPY_MAGIC or _is_npz(path)


def _picked(content: Any, key: str, path: Path) -> Any:
    """Return an array by its name, or by its dotted path in nested dicts."""
    value, rest = content, key
    while isinstance(value, Mapping) and rest:
        name = next((name for name in (rest, rest.partition(".")[0]) if name in value), None)
        if name is None:
            break
        value, rest = value[name], rest[len(name) + 1 :]
    if rest or isinstance(value, Mapping):
        names = ", ".join(map(str, value)) if isinstance(value, Mapping) else "one array without a name"
        raise InputError(f"--key: {key!r} received for {path}; it holds {shorten(names)}")
    if not isinstance(value, np.ndarray | Tensor):
        raise InputError(f"--key: {key!r} of {path} is {type(value).__name__}; give a tensor")
    return value


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


def _load(path: Path) -> Any:
    try:
        return load_torch_file(path)
    except InputError as error:
        raise InputError(f"{path}: not a plain tensor ({str(error).removeprefix(f'{path}: ')})") from None


def _read_tensors(path: Path, key: str | None) -> Tensor | Mapping[str, Tensor]:
    """Return the tensor of a ``.pt`` file, or its tensors by name if one of them is named as codes."""
    content = _load(path)
    if key is not None:
        picked: Tensor = _picked(content, key, path)
        return picked
    if isinstance(content, Tensor):
        return content
    tensors = isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not {"mean", "codes"} & content.keys():
        listed = f" with {shorten(', '.join(map(str, content)))}" if isinstance(content, Mapping) else ""
        raise InputError(
            f"{path}: {type(content).__name__}{listed} received; give one (n, d) tensor, or its name to --key"
        )
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
