"""Small NORB (LeCun et al., 2004): photographs of toys."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdprior.data.factor_images import FactorImages, cached_array, fetch
from mmdprior.data.factor_table import FactorTable, evenly
from mmdprior.data.source import Source
from mmdprior.errors import InputError, reason

__all__ = ["smallnorb"]

_URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small"
_FILES = {
    "training": "smallnorb-5x46789x9x18x6x2x96x96-training-{}.mat.gz",
    "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing-{}.mat.gz",
}
_DTYPES: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype(np.uint8), 0x1E3D4C54: np.dtype("<i4")}
"""Element types by the number at the start of a file."""
_STORED = 96

_TABLE = FactorTable(
    names=("category", "instance", "elevation", "azimuth", "light"),
    values=(
        tuple(range(5)),
        tuple(range(10)),
        evenly(9, 30, 70),
        evenly(19, 0, 360)[:-1],
        tuple(range(6)),
    ),
    circular=("azimuth",),
    nominal=("category", "instance", "light"),
)


def smallnorb(
    root: str,
    size: int = 64,
    every: Mapping[str, int] | None = None,
    download: bool = True,
    cache: str | None = None,
) -> Source:
    """Open Small NORB: 48,600 grey images, 5 factors, one image per combination.

    The factors are category (5), instance (10), elevation (9, degrees), azimuth (18, degrees) and light (6);
    the last one varies fastest. Training and testing files, which hold five instances each, are merged. Of
    each stereo pair the first image is used. Images are resized once and kept in an uncompressed copy.

    Args:
        root: folder of the six published ``.mat.gz`` files.
        size: side of the images returned, in pixels; the stored images have 96.
        every: step by factor name, to use every s-th value; None for all.
        download: whether to download missing files (200 MB in all).
        cache: folder of the uncompressed copy; by default the folder of the files.

    Raises:
        InputError: a file is missing or damaged, or a step is invalid.

    Example:
        >>> from mmdprior.data import smallnorb
        >>> smallnorb("data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data/smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz not found;
        give its folder, or set download: true
    """
    files = {
        (part, kind): fetch(root, name.format(kind), f"{_URL}/{name.format(kind)}", download=download)
        for part, name in _FILES.items()
        for kind in ("dat", "cat", "info")
    }
    factors = np.concatenate([_factors(files, part) for part in _FILES])
    order = _TABLE.index_of(torch.from_numpy(factors))
    if len(order.unique()) != len(order) or len(order) != len(_TABLE):
        raise InputError(
            f"root: {len(order)} images received in {root}; give the {len(_TABLE)} published ones"
        )

    def blocks() -> Iterator[np.ndarray]:
        for part in _FILES:
            yield from _resized(files[part, "dat"], size)

    copy = cached_array(files["training", "dat"], (len(_TABLE), size, size), blocks, cache)
    table, kept = _TABLE.every(every or {})
    return Source(FactorImages(copy, table, order.argsort()[kept]))


def _factors(files: Mapping[tuple[str, str], Path], part: str) -> np.ndarray:
    """Return the factor classes of one part."""
    category = _matrix(files[part, "cat"]).reshape(-1, 1)
    # Columns of info: instance, elevation, azimuth (0, 2, ..., 34), light.
    info = _matrix(files[part, "info"]).reshape(len(category), 4)
    columns = [category, info[:, :2], info[:, 2:3] // 2, info[:, 3:]]
    return np.concatenate(columns, 1).astype(np.int64)


def _resized(path: Path, size: int) -> Iterator[np.ndarray]:
    from PIL import Image

    with _opened(path) as file:
        shape, dtype = _header(file, path)
        if len(shape) != 4 or shape[1:] != (2, _STORED, _STORED) or dtype != np.uint8:
            raise InputError(
                f"{path}: images {shape} of {dtype} received; give (n, 2, {_STORED}, {_STORED}) uint8"
            )
        for _ in range(shape[0]):
            content = file.read(2 * _STORED * _STORED)
            if len(content) < 2 * _STORED * _STORED:
                raise InputError(f"{path}: damaged (it ends early); download it again")
            first = np.frombuffer(content, np.uint8)[: _STORED * _STORED].reshape(_STORED, _STORED)
            yield np.asarray(Image.fromarray(first).resize((size, size), Image.Resampling.BOX))[None]


def _matrix(path: Path) -> np.ndarray:
    """Return the integers of a file of labels."""
    with _opened(path) as file:
        shape, dtype = _header(file, path)
        content = file.read()
    if dtype.kind != "i" or len(content) != int(np.prod(shape)) * dtype.itemsize:
        raise InputError(f"{path}: damaged ({len(content)} bytes for {shape} of {dtype}); download it again")
    return np.frombuffer(content, dtype).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a gzip file. Its damage raises `InputError`."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged ({reason(error)}); download it again") from None


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and element type: a magic number, the number of axes, then at least three sizes."""
    start = np.frombuffer(file.read(8).ljust(8, b"\0"), "<i4")
    magic, axes = int(start[0]), int(start[1])
    if magic not in _DTYPES or not 0 < axes <= 4:
        raise InputError(f"{path}: not a file of Small NORB; download it again")
    sizes = np.frombuffer(file.read(4 * max(3, axes)), "<i4")[:axes]
    return tuple(int(size) for size in sizes), _DTYPES[magic]
