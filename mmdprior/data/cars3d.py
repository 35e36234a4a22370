"""Cars3D (Reed et al., 2015): renderings of car models."""

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmdprior.data.factor_images import cached_array, factor_source, fetch
from mmdprior.data.factor_table import FactorTable, evenly
from mmdprior.data.source import Source
from mmdprior.errors import InputError, reason

__all__ = ["cars3d"]

_NAME = "nips2015-analogy-data.tar.gz"
_URL = f"http://www.scottreed.info/files/{_NAME}"
_ELEVATIONS, _AZIMUTHS, _STORED = 4, 24, 128


def cars3d(
    root: str,
    size: int = 64,
    every: Mapping[str, int] | None = None,
    download: bool = True,
    cache: str | None = None,
) -> Source:
    """Open Cars3D: 17,568 colour images, 3 factors, one image per combination.

    The factors are elevation (4), azimuth (24, a full turn) and object (183, in the order of the file names);
    the last one varies fastest. The images of all cars are resized once and kept in an uncompressed copy.
    Needs SciPy, which reads the ``.mat`` files.

    Args:
        root: the published ``.tar.gz`` file, the folder that contains it, or the folder of the unpacked
            ``car_*_mesh.mat`` files.
        size: side of the images returned, in pixels; the stored images have 128.
        every: step by factor name, to use every s-th value; None for all.
        download: whether to download the archive (297 MB) if it is missing.
        cache: folder of the uncompressed copy; by default the folder of the file.

    Raises:
        InputError: the files are missing or damaged, a step is invalid, or SciPy is missing.

    Example:
        >>> from mmdprior.data import cars3d
        >>> cars3d("data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data/nips2015-analogy-data.tar.gz not found; give its folder, or set
        download: true
    """
    folder = _mesh_folder(Path(root).expanduser())
    source = folder or fetch(root, _NAME, _URL, download=download)
    names = _mesh_names(source)
    table = FactorTable(
        names=("elevation", "azimuth", "object"),
        values=(tuple(range(_ELEVATIONS)), evenly(_AZIMUTHS + 1, 0, 360)[:-1], tuple(range(len(names)))),
        circular=("azimuth",),
        nominal=("object",),
    )
    shape = (len(table), size, size, 3)

    def blocks() -> Iterator[np.ndarray]:
        # One car holds all its views; the grid has the object fastest, so all cars are read first.
        cars = np.empty((_ELEVATIONS, _AZIMUTHS, len(names), size, size, 3), np.uint8)
        for place, mesh in enumerate(_meshes(source, names)):
            cars[:, :, place] = _views(mesh, names[place], size)
        yield cars.reshape(shape)

    return factor_source(cached_array(source, shape, blocks, cache), table, every)


def _mesh_folder(path: Path) -> Path | None:
    """Return the folder of the unpacked meshes, if there is one."""
    places = [path, path / "cars", path / "data" / "cars"]
    return next((place for place in places if any(place.glob("car_*_mesh.mat"))), None)


def _is_mesh(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.startswith("car_") and base.endswith("_mesh.mat")


def _mesh_names(source: Path) -> list[str]:
    """Return the names of the meshes in alphabetical order, which does not depend on the file system."""
    if source.is_dir():
        return sorted(path.name for path in source.glob("car_*_mesh.mat"))
    try:
        with tarfile.open(source) as archive:
            names = sorted(name for name in archive.getnames() if _is_mesh(name))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{source}: damaged ({reason(error)}); download it again") from None
    if not names:
        raise InputError(f"{source}: no car_*_mesh.mat received; give the published archive")
    return names


def _meshes(source: Path, names: list[str]) -> Iterator[Any]:
    """Yield the content of each mesh file."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f'{source}: SciPy is not installed; pip install "mmdprior[factors]"') from None
    if source.is_dir():
        for name in names:
            yield loadmat(source / name)
        return
    with tarfile.open(source) as archive:
        for name in names:
            yield loadmat(archive.extractfile(name))


def _views(mesh: Any, name: str, size: int) -> np.ndarray:
    """Return the views of one car as (elevation, azimuth, size, size, 3)."""
    from PIL import Image

    images = mesh.get("im")
    expected = (_STORED, _STORED, 3, _AZIMUTHS, _ELEVATIONS)
    if images is None or images.shape != expected:
        shape = None if images is None else images.shape
        raise InputError(f"{name}: im of shape {shape} received; give {expected}")
    views = images.astype(np.uint8).transpose(4, 3, 0, 1, 2).reshape(-1, _STORED, _STORED, 3)
    resized = [np.asarray(Image.fromarray(view).resize((size, size), Image.Resampling.BOX)) for view in views]
    return np.stack(resized).reshape(_ELEVATIONS, _AZIMUTHS, size, size, 3)
