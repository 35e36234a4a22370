"""MPI3D (Gondal et al., 2019): renderings and photographs of a robot arm."""

from collections.abc import Mapping
from typing import Literal

from mmdprior.data.factor_images import factor_source, fetch, npz_array
from mmdprior.data.factor_table import FactorTable, numbered
from mmdprior.data.source import Source

__all__ = ["mpi3d"]

_URL = "https://storage.googleapis.com/mpi3d_disentanglement_dataset/data"
_NAMES = (
    *("object_color", "object_shape", "object_size", "camera_height"),
    *("background_color", "horizontal_axis", "vertical_axis"),
)
_NOMINAL = ("object_color", "object_shape", "background_color")
_FILES: dict[str, tuple[str, tuple[int, ...]]] = {
    "toy": ("mpi3d_toy.npz", (6, 6, 2, 3, 3, 40, 40)),
    "realistic": ("mpi3d_realistic.npz", (6, 6, 2, 3, 3, 40, 40)),
    "real": ("mpi3d_real.npz", (6, 6, 2, 3, 3, 40, 40)),
    "complex": ("real3d_complicated_shapes_ordered.npz", (4, 4, 2, 3, 3, 40, 40)),
}
"""File name and number of values per factor, by variant."""


def mpi3d(
    root: str,
    variant: Literal["toy", "realistic", "real", "complex"] = "real",
    every: Mapping[str, int] | None = None,
    download: bool = True,
    cache: str | None = None,
) -> Source:
    """Open MPI3D: 1,036,800 colour images of 64 x 64 pixels (complex: 460,800), 7 factors.

    The factors are object colour (6; complex 4), object shape (6; complex 4), object size (2), camera height
    (3), background colour (3), and two angles of the arm (40 each); the last one varies fastest. Images are
    read from an uncompressed copy that is written on first use (12.7 GB; complex 5.7 GB), so they need not
    fit in memory. Files with a broken order were published until April 2025; they cannot be recognised by
    their shape, so replace older files.

    Args:
        root: the published ``.npz`` file, or its folder.
        variant: simple renderings, realistic renderings, photographs, or photographs of complex objects.
        every: step by factor name, to use every s-th value; None for all.
        download: whether to download the file if it is missing.
        cache: folder of the uncompressed copy; by default the folder of the file.

    Raises:
        InputError: the file is missing, damaged or another one, or a step is invalid.

    Example:
        >>> from mmdprior.data import mpi3d
        >>> mpi3d("data", variant="toy", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data/mpi3d_toy.npz not found; give its folder, or set download: true
    """
    name, sizes = _FILES[variant]
    table = FactorTable(_NAMES, numbered(sizes), nominal=_NOMINAL)
    path = fetch(root, name, f"{_URL}/{name}", download=download)
    return factor_source(npz_array(path, "images", (len(table), 64, 64, 3), cache), table, every)
