"""Images of a factor grid in an array that may be larger than memory, and the files that hold it."""

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_table import FactorTable
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, reason

__all__ = ["FactorImages", "cached_array", "factor_source", "fetch", "hdf5_array", "npz_array", "open_hdf5"]

_BLOCK = 1024
"""Images copied at a time into a cache."""


class FactorImages(ImageSet):
    """Images for every row of a factor table, read from a memory-mapped file.

    Args:
        path: ``.npy`` file of uint8 images (n, H, W) or (n, H, W, C).
        table: factors of the images.
        rows: (n,) stored row of each row of the table; None if both have the same order.
        scale: factor that takes stored values to 0 to 255.

    Attributes:
        factor_table: factors of the images, in the order of the images.

    Example:
        >>> import numpy as np, torch
        >>> from mmdprior.data import FactorImages, FactorTable
        >>> np.save("grid.npy", np.arange(6, dtype=np.uint8).repeat(64).reshape(6, 8, 8))
        >>> images = FactorImages("grid.npy", FactorTable(("row", "column"), ((0, 1), (0, 1, 2))))
        >>> pixels, factors = images.gather(images.factor_table.index_of(torch.tensor([[1, 2]])))
        >>> pixels.shape, int(pixels.max()), factors.tolist()
        (torch.Size([1, 1, 8, 8]), 5, [[1, 2]])
    """

    def __init__(
        self,
        path: str | Path,
        table: FactorTable,
        rows: Tensor | None = None,
        *,
        scale: int = 1,
    ) -> None:
        self.path, self.scale, self.rows = Path(path), scale, rows
        self.factor_table = table
        self.label_names = table.names
        self.factors = table.known_factors
        self._array: np.ndarray | None = None
        stored = self._images()
        height, width = stored.shape[1:3]
        self.image_shape = (stored.shape[3] if stored.ndim == 4 else 1, height, width)
        count = len(stored) if rows is None else len(rows)
        if count != len(table):
            raise InputError(
                f"{path}: {count} images received; give {len(table)}, one per combination of the factors"
            )

    def __len__(self) -> int:
        return len(self.factor_table)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and factor classes."""
        indices = indices.cpu()
        rows = (indices if self.rows is None else self.rows[indices]).numpy()
        images = torch.from_numpy(self._images()[rows] * np.uint8(self.scale))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, self.factor_table.factors_of(indices)

    def _images(self) -> np.ndarray:
        # Opened in each process: a pickled memory map would carry all images.
        if self._array is None:
            self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}


def factor_source(
    path: Path, table: FactorTable, every: Mapping[str, int] | None, *, scale: int = 1
) -> Source:
    """Return the source of a full grid of images, or of every s-th value of some factors."""
    rows = None
    if every:
        table, rows = table.every(every)
    return Source(FactorImages(path, table, rows, scale=scale))


def cached_array(
    source: Path, shape: tuple[int, ...], blocks: Callable[[], Iterator[np.ndarray]], cache: str | None
) -> Path:
    """Return the uncompressed copy of the images of a file, written on first use.

    Args:
        source: the file or folder that holds the images.
        shape: shape of all images.
        blocks: function that yields the images in order, as uint8 blocks.
        cache: folder of the copy; None for the folder of the source.

    Raises:
        InputError: the copy cannot be written, or the blocks do not add up to the shape.
    """
    folder = source.parent if cache is None else Path(cache).expanduser()
    path = folder / f"{source.name}.{'x'.join(map(str, shape))}.npy"
    if path.is_file() and path.stat().st_mtime >= source.stat().st_mtime:
        return path
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        written = 0
        for block in blocks():
            if block.dtype != np.uint8 or block.shape[1:] != shape[1:] or written + len(block) > shape[0]:
                raise InputError(
                    f"{source}: images {block.shape[1:]} of {block.dtype} received; give {shape} of uint8"
                )
            images[written : written + len(block)] = block
            written += len(block)
        if written != shape[0]:
            raise InputError(f"{source}: {written} images received; give {shape[0]}")
        images.flush()
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({reason(error)}); give another folder as cache"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def npz_array(path: Path, key: str, shape: tuple[int, ...], cache: str | None) -> Path:
    """Return the images of a ``.npz`` file as an uncompressed file, without reading them into memory.

    Other arrays of the file, which may be pickled, are not read.

    Raises:
        InputError: the file is damaged, has no such array, or its array has another shape or type.
    """

    def blocks() -> Iterator[np.ndarray]:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _read_header_2_0
            found, fortran, dtype = read(member)
            if tuple(found) != shape or fortran or dtype != np.uint8:
                raise InputError(f"{path}: {key} {found} of {dtype} received; give {shape} of uint8")
            size = int(np.prod(shape[1:]))
            while content := member.read(_BLOCK * size):
                yield np.frombuffer(content, np.uint8).reshape(-1, *shape[1:])

    try:
        return cached_array(path, shape, blocks, cache)
    except InputError:
        raise
    except KeyError:
        raise InputError(f"{path}: no array {key!r}; give the published file") from None
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({reason(error)}); download it again") from None


_read_header_2_0 = np.lib.format.read_array_header_2_0


def hdf5_array(path: Path, key: str, shape: tuple[int, ...], cache: str | None) -> Path:
    """Return the images of an HDF5 file as an uncompressed file, without reading all of them into memory.

    Raises:
        InputError: h5py is not installed, the file is damaged, or its images have another shape or type.
    """

    def blocks() -> Iterator[np.ndarray]:
        with open_hdf5(path) as file:
            images = file.get(key)
            if images is None or images.shape != shape or images.dtype != np.uint8:
                received = "no array" if images is None else f"{images.shape} of {images.dtype}"
                raise InputError(f"{path}: {key}: {received} received; give {shape} of uint8")
            for start in range(0, shape[0], _BLOCK):
                yield images[start : start + _BLOCK]

    return cached_array(path, shape, blocks, cache)


def open_hdf5(path: Path) -> Any:
    """Open an HDF5 file; raise `InputError` if it is damaged or h5py is not installed."""
    try:
        import h5py
    except ImportError:
        raise InputError(f'{path}: h5py is not installed; pip install "mmdprior[factors]"') from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: damaged ({reason(error)}); download it again") from None


def fetch(
    root: str,
    name: str,
    url: str,
    *,
    download: bool,
    size: int | None = None,
    sha256: str | None = None,
) -> Path:
    """Return the published file of a data set, and download it if it is missing.

    Args:
        root: the file itself, or the folder that contains it or receives it.
        name: file name.
        url: address of the file.
        download: whether to download a missing file.
        size: bytes of the file; None if unknown.
        sha256: checksum of a downloaded file; None if unknown.

    Raises:
        InputError: the file is missing, the download fails, or the file has another size or checksum.
    """
    path = Path(root).expanduser()
    path = path if path.is_file() else path / name
    if not path.is_file():
        if not download:
            raise InputError(f"root: {path} not found; give its folder, or set download: true")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{name}.{os.getpid()}.part")
        try:
            torch.hub.download_url_to_file(url, str(part), hash_prefix=sha256, progress=True)
            part.replace(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"download: {url} failed ({reason(error)}); get {name} elsewhere and put it in {path.parent}"
            ) from None
        finally:
            part.unlink(missing_ok=True)
    if size is not None and path.stat().st_size != size:
        raise InputError(f"{path}: {path.stat().st_size} bytes received; the published file has {size}")
    return path
