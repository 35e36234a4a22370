"""Arrays in HDF5, AnnData and Zarr files, which hold arrays in groups."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdprior.errors import InputError, reason, shorten

__all__ = ["HDF5_SUFFIXES", "is_hierarchy", "read_hierarchy", "read_hierarchy_labels"]

HDF5_SUFFIXES = (".h5", ".hdf5", ".h5ad")
_ZARR_FILES = (".zgroup", ".zarray", "zarr.json")
_ENCODED = ("sample", "mean", "log_var")
"""Arrays that ``mmdprior encode`` writes."""
_DEPTH = 8
"""Most groups in one another; groups of an HDF5 file may contain themselves."""
_SPARSE = ("csr_matrix", "csc_matrix")


def is_hierarchy(path: str | Path) -> bool:
    """Return whether a path is an HDF5 or AnnData file, or the folder of a Zarr store."""
    file = Path(path)
    if file.is_dir():
        return any((file / name).is_file() for name in _ZARR_FILES)
    return file.suffix.lower() in HDF5_SUFFIXES


def read_hierarchy(path: str | Path, key: str | None = None) -> np.ndarray | dict[str, np.ndarray]:
    """Read one array of numbers, or ``mean``, ``sample`` and ``log_var`` where a file has all three.

    Neither links to other files nor pickled objects are followed.

    Args:
        path: HDF5, AnnData or Zarr file.
        key: path of the array in the file, such as ``obsm/X_pca``. None takes ``codes`` or ``mean``, or the
            only array of two axes.

    Raises:
        InputError: the file is missing or damaged, h5py or zarr is not installed, there is no such array, or
            it is unclear which array holds the codes.
    """
    with _Opened(Path(path)) as file:
        arrays = dict(_arrays(file))
        if key is None and all(name in arrays for name in _ENCODED):
            return {name: _numbers(arrays[name], path, name) for name in _ENCODED}
        name = _chosen(path, file, arrays, key)
        return _numbers(arrays[name], path, name)


def read_hierarchy_labels(path: str | Path, key: str) -> np.ndarray | None:
    """Read one label per row: an array of numbers or text, or a categorical column of AnnData.

    Args:
        path: HDF5, AnnData or Zarr file.
        key: path of the array in the file, such as ``obs/batch``.

    Returns:
        The labels, or None if the file has no such array.
    """
    with _Opened(Path(path)) as file:
        arrays = dict(_arrays(file))
        name = f"{key}/codes" if f"{key}/codes" in arrays else key
        if name not in arrays:
            return None
        labels = np.asarray(arrays[name][()])
        return labels.astype(str) if labels.dtype.kind in "SO" else labels


def _chosen(path: str | Path, file: Any, arrays: dict[str, Any], key: str | None) -> str:
    matrices = {name: array for name, array in arrays.items() if len(array.shape) == 2}
    if key is None:
        name = next((name for name in ("mean", "codes") if name in matrices), None)
        if name is not None or len(matrices) == 1:
            return name or next(iter(matrices))
    elif key.strip("/") in arrays:
        return key.strip("/")
    listed = shorten(
        ", ".join(f"{name} {tuple(array.shape)}" for name, array in (matrices or arrays).items())
    )
    if key is None:
        raise InputError(f"{path}: arrays {listed or 'missing'} received; give one of them to --key")
    sparse = key in file and str(getattr(file[key], "attrs", {}).get("encoding-type", "")) in _SPARSE
    problem = "a sparse matrix; give a dense array" if sparse else "no such array"
    raise InputError(f"--key: {key!r} received for {path}, {problem}; its arrays are {listed or 'missing'}")


def _numbers(array: Any, path: str | Path, name: str) -> np.ndarray:
    if np.dtype(array.dtype).kind not in "biuf":
        raise InputError(f"{path}: {name}: {array.dtype} received; give an array of numbers")
    try:
        return np.asarray(array[()])
    except Exception as error:  # h5py and zarr raise many types for damaged chunks
        raise InputError(f"{path}: {name}: damaged ({reason(error)})") from None


def _arrays(group: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all arrays of a group and of the groups in it by path."""
    if hasattr(group, "shape"):
        yield "codes", group  # a Zarr store of one array
        return
    for name in sorted(group):
        if _is_link(group, name) or place.count("/") == _DEPTH:
            continue
        item, path = group[name], f"{place}{name}"
        if not hasattr(item, "shape"):
            yield from _arrays(item, f"{path}/")
        elif not (getattr(item, "external", None) or getattr(item, "is_virtual", False)):
            yield path, item


def _is_link(group: Any, name: str) -> bool:
    """Return whether an entry of an HDF5 file is a link, which may lead to another file."""
    if not type(group).__module__.startswith("h5py"):
        return False
    return type(group.get(name, getlink=True)).__name__ != "HardLink"


class _Opened:
    """Context manager of an HDF5 file or a Zarr store, whose errors are one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file; give an HDF5 file or a Zarr store")
        self.file = self._zarr() if self.path.is_dir() else self._hdf5()
        return self.file

    def __exit__(self, *error: Any) -> None:
        if hasattr(self.file, "close"):
            self.file.close()

    def _hdf5(self) -> Any:
        try:
            import h5py
        except ImportError:
            raise InputError(
                f'{self.path}: needs h5py; pip install "mmdprior[tables]", or save .npy'
            ) from None
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{self.path}: damaged or no HDF5 file ({reason(error)})") from None

    def _zarr(self) -> Any:
        try:
            import zarr
        except ImportError:
            raise InputError(
                f'{self.path}: needs zarr; pip install "mmdprior[tables]", or save .npy'
            ) from None
        self._check_codecs()
        try:
            return zarr.open(str(self.path), mode="r")
        except Exception as error:  # zarr raises many types for a bad store
            raise InputError(f"{self.path}: a Zarr store that cannot be read ({reason(error)})") from None

    def _check_codecs(self) -> None:
        """Reject arrays whose chunks are pickled objects; reading them would run code."""
        for name in (".zarray", "zarr.json", ".zmetadata"):
            for file in self.path.rglob(name):
                try:
                    content = json.dumps(json.loads(file.read_text(encoding="utf-8")))
                except (OSError, ValueError) as error:
                    raise InputError(f"{self.path}: damaged; {file.name}: {reason(error)}") from None
                if "pickle" in content.lower():
                    raise InputError(
                        f"{self.path}: holds pickled objects ({file.parent.name}), which are never run; save "
                        "the array with a numeric dtype"
                    )
