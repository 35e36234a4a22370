"""dSprites (Matthey et al., 2017): the published file, or the same images on a coarser grid."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmdprior.data.arrays import read_array
from mmdprior.data.factor_images import cached_array, factor_source, fetch, hdf5_array, npz_array
from mmdprior.data.factor_table import FactorTable, evenly
from mmdprior.data.source import Source
from mmdprior.errors import InputError

__all__ = ["dsprites"]

_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"
_URL = f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{_NAME}"
_HDF5_SIZE = 28_024_106
_HDF5_SHA256 = "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb"
_SIDE = 64

_TABLE = FactorTable(
    names=("shape", "scale", "orientation", "x", "y"),
    values=((1, 2, 3), evenly(6, 0.5, 1), evenly(40, 0, 2 * math.pi), evenly(32), evenly(32)),
    circular=("orientation",),
    nominal=("shape",),
)
"""The published factors without colour, which has one value."""


def dsprites(
    root: str,
    every: Mapping[str, int] | None = None,
    download: bool = True,
    cache: str | None = None,
) -> Source:
    """Open dSprites: 737,280 grey images of 64 x 64 pixels, 5 factors, one image per combination.

    The factors are shape (3: square, ellipse, heart), scale (6), orientation (40 from 0 to 2 pi), x (32) and
    y (32); the last one varies fastest. Images are read from an uncompressed copy that is written on first
    use (3.0 GB), so they need not fit in memory. The pickled metadata of the ``.npz`` file is never read.

    Args:
        root: the published ``.npz`` or ``.hdf5`` file, or its folder. A ``.npz`` file with arrays ``images``,
            ``factors`` and ``values`` on a full grid of the same factors is read as well.
        every: step by factor name, to use every s-th value: ``{orientation: 4, x: 2, y: 2}`` gives 46,080
            images. None for all.
        download: whether to download the ``.hdf5`` file (28 MB) if neither file is in the folder.
        cache: folder of the uncompressed copy; by default the folder of the file.

    Raises:
        InputError: the file is missing, damaged or another one, or a step is invalid.

    Example:
        >>> from mmdprior.data import dsprites
        >>> dsprites("data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5 not found; give
        its folder, or set download: true
    """
    path = Path(root).expanduser()
    if not path.is_file() and (path / f"{_NAME}.npz").is_file():
        path = path / f"{_NAME}.npz"
    if path.is_file() and path.suffix == ".npz":
        return _npz(path, every, cache)
    path = fetch(
        root, f"{_NAME}.hdf5", f"{_URL}.hdf5", download=download, size=_HDF5_SIZE, sha256=_HDF5_SHA256
    )
    shape = (len(_TABLE), _SIDE, _SIDE)
    return factor_source(hdf5_array(path, "imgs", shape, cache), _TABLE, every, scale=255)


def _npz(path: Path, every: Mapping[str, int] | None, cache: str | None) -> Source:
    names = _array_names(path)
    if "imgs" in names:
        shape = (len(_TABLE), _SIDE, _SIDE)
        return factor_source(npz_array(path, "imgs", shape, cache), _TABLE, every, scale=255)
    if not {"images", "factors", "values"} <= names:
        raise InputError(f"{path}: arrays {sorted(names)} received; give the published file of dSprites")
    content = read_array(path)
    assert isinstance(content, dict)
    table = _coarser_table(path, content["factors"], content["values"])
    images = content["images"]
    copy = cached_array(path, images.shape, lambda: iter([images]), cache)
    return factor_source(copy, table, every)


def _array_names(path: Path) -> set[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return set(archive.files)
    except Exception:  # NumPy and zipfile raise many types
        raise InputError(f"{path}: damaged, or no .npz file; download it again") from None


def _coarser_table(path: Path, factors: np.ndarray, values: np.ndarray) -> FactorTable:
    """Return the table of a file that has one row of factor classes and values per image."""
    sizes = tuple(int(size) for size in factors.max(0) + 1)
    grid = (
        np.stack(np.unravel_index(np.arange(len(factors)), sizes), 1)
        if np.prod(sizes) == len(factors)
        else None
    )
    if len(sizes) != len(_TABLE.names) or grid is None or not np.array_equal(grid, factors):
        raise InputError(
            f"{path}: factors that are no full grid in order received; open the file with data.name: arrays"
        )
    columns = tuple(
        tuple(float(values[factors[:, k] == level, k][0]) for level in range(size))
        for k, size in enumerate(sizes)
    )
    return FactorTable(_TABLE.names, columns, _TABLE.circular, _TABLE.nominal)
