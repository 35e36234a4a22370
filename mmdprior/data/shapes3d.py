"""Shapes3D (Burgess and Kim, 2018)."""

import math
from collections.abc import Mapping

from mmdprior.data.factor_images import factor_source, fetch, hdf5_array
from mmdprior.data.factor_table import FactorTable, evenly
from mmdprior.data.source import Source

__all__ = ["shapes3d"]

_NAME = "3dshapes.h5"
_URL = f"https://storage.googleapis.com/3d-shapes/{_NAME}"
_SIZE = 267_573_662
_SHA256 = "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785"
_HUES = evenly(10, 0, 0.9)

_TABLE = FactorTable(
    names=("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
    values=(_HUES, _HUES, _HUES, evenly(8, 0.75, 1.25), (0, 1, 2, 3), evenly(15, -30, 30)),
    circular=("floor_hue", "wall_hue", "object_hue"),
    nominal=("shape",),
)
assert len(_TABLE) == math.prod((10, 10, 10, 8, 4, 15))


def shapes3d(
    root: str, every: Mapping[str, int] | None = None, download: bool = True, cache: str | None = None
) -> Source:
    """Open Shapes3D: 480,000 colour images of 64 x 64 pixels, 6 factors, one image per combination.

    The factors are floor hue (10), wall hue (10), object hue (10), scale (8), shape (4) and orientation (15,
    degrees); the last one varies fastest. Images are read from an uncompressed copy that is written on first
    use (5.9 GB), so they need not fit in memory. Needs h5py.

    Args:
        root: the file ``3dshapes.h5``, or its folder.
        every: step by factor name, to use every s-th value; None for all.
        download: whether to download the file (268 MB) if it is missing; its checksum is verified.
        cache: folder of the uncompressed copy; by default the folder of the file.

    Raises:
        InputError: the file is missing, damaged or another one, a step is invalid, or h5py is missing.

    Example:
        >>> from mmdprior.data import shapes3d
        >>> shapes3d("data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data/3dshapes.h5 not found; give its folder, or set download: true
    """
    path = fetch(root, _NAME, _URL, download=download, size=_SIZE, sha256=_SHA256)
    return factor_source(hdf5_array(path, "images", (len(_TABLE), 64, 64, 3), cache), _TABLE, every)
