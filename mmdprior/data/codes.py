"""Codes in files: arrays and tables of numbers, and what ``mmdprior encode`` writes."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.arrays import read_array, to_numbers
from mmdprior.data.tables import TABLE_SUFFIXES, read_table
from mmdprior.errors import InputError, reason
from mmdprior.latent import Latent

__all__ = ["read_codes", "read_latent"]

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
