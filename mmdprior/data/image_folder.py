"""Any folder of image files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, reason

__all__ = ["ImageFiles", "image_folder", "to_square"]

_EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_TEST_FOLDERS = ("test", "val", "valid", "validation")


def to_square(image: Image.Image, size: int, channels: int, crop: int | None = None) -> Tensor:
    """Return an image as uint8 (channels, size, size).

    The centre is cut out, a square of ``crop`` pixels or the largest that fits, then resized
    (bilinear, anti-aliased).
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) / 257).round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; save 8 or 16 bits")
    image = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size) if crop is None else crop
    if image.size != (side, side):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.reshape(size, size, channels).permute(2, 0, 1)


class ImageFiles(ImageSet):
    """Image files, decoded when they are asked for.

    Args:
        files: paths.
        labels: (n, k) integers.
        label_names: one a column.
        size: side of the images returned.
        channels: 3 (colour) or 1 (grey).
        crop: pixels of the centre square cut out first; the largest that fits by default.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Tensor,
        label_names: tuple[str, ...],
        size: int,
        channels: int = 3,
        crop: int | None = None,
    ) -> None:
        self.files = list(files)
        self.labels = labels
        self.label_names = label_names
        self.image_shape = (channels, size, size)
        self.crop = crop

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Decode files.

        Raises:
            InputError: a file that is missing or is no image.
        """
        rows = indices.tolist()
        images = torch.empty((len(rows), *self.image_shape), dtype=torch.uint8)
        for slot, row in enumerate(rows):
            images[slot] = self._read(self.files[row])
        return images, self.labels[indices]

    def _read(self, path: Path) -> Tensor:
        channels, size, _ = self.image_shape
        try:
            with Image.open(path) as image:
                return to_square(image, size, channels, self.crop)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{path}: not a readable image ({reason(error)}); repair or remove it") from None


def image_folder(root: str, size: int, channels: Literal[1, 3] = 3, crop: int | None = None) -> Source:
    """Open a folder of images, at any depth.

    A folder ``train`` with a folder ``test`` (or ``val``, ``valid``, ``validation``) beside it are
    the training and test images; otherwise everything under root is one pool. Sub-folders at the top
    of either are classes.

    Args:
        root: the folder.
        size: side of the square images returned, in pixels.
        channels: 3 (colour) or 1 (grey).
        crop: pixels of the centre square cut out before resizing (148 for CelebA); by default the
            largest that fits.

    Raises:
        InputError: a folder that is missing or holds no images, or a size below 1.
    """
    if size < 1 or (crop is not None and crop < 1):
        raise InputError(f"size, crop: {size}, {crop} received; give pixels of at least 1")
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"root: {root} is not a folder; give the folder that holds the images")
    tests = [top / name for name in _TEST_FOLDERS if (top / name).is_dir()]
    pools = [top / "train", tests[0]] if tests and (top / "train").is_dir() else [top]
    classes = sorted({path.name for pool in pools for path in pool.iterdir() if path.is_dir()})
    sets = [_scan(pool, classes, size, channels, crop) for pool in pools]
    return Source(*sets)


def _scan(pool: Path, classes: list[str], size: int, channels: int, crop: int | None) -> ImageFiles:
    files = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(pool, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in _EXTENSIONS and Path(folder, name).is_file()
    )
    if not files:
        raise InputError(f"root: {pool} holds no images ({', '.join(sorted(_EXTENSIONS))})")
    numbers = {name: i for i, name in enumerate(classes)}
    owners = [numbers.get(path.relative_to(pool).parts[0], -1) for path in files]
    if not classes or -1 in owners:
        return ImageFiles(files, torch.empty(len(files), 0, dtype=torch.long), (), size, channels, crop)
    return ImageFiles(files, torch.tensor(owners)[:, None], ("class",), size, channels, crop)
