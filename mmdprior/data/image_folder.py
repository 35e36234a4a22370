"""Folders of image files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError

__all__ = ["ImageFiles", "image_folder"]

_EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_TEST_FOLDERS = ("test", "val", "valid", "validation")


def image_folder(root: str, size: int, channels: Literal[1, 3] = 3, crop: int | None = None) -> Source:
    """Open a folder of images, at any depth.

    If ``root`` holds a folder ``train`` and a folder ``test`` (or ``val``, ``valid``, ``validation``), these
    are the training and the test images. Otherwise all images under ``root`` are training images. The
    first-level folders of each are the classes, unless some image is in none of them.

    Args:
        root: folder of the images.
        size: side of the square images returned, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square cut out before resizing, in pixels (148 is usual for CelebA); by
            default the largest square that fits.

    Raises:
        InputError: the folder is missing or holds no images, or ``size`` or ``crop`` is below 1.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from mmdprior.data import image_folder
        >>> for name in ("ant", "bee"):
        ...     Path("insects", name).mkdir(parents=True)
        ...     Image.new("RGB", (40, 30)).save(f"insects/{name}/0.png")
        >>> train = image_folder("insects", size=16).train
        >>> len(train), train.image_shape, train.label_names
        (2, (3, 16, 16), ('class',))
    """
    if size < 1 or (crop is not None and crop < 1):
        raise InputError(f"size, crop: {size}, {crop} received; give pixels of at least 1")
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"root: {root} is not a folder; give the folder that holds the images")
    tests = [top / name for name in _TEST_FOLDERS if (top / name).is_dir()]
    folders = [top / "train", tests[0]] if tests and (top / "train").is_dir() else [top]
    # One numbering for both sets, since a class may be missing from one of them.
    classes = sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()})
    return Source(*[_scan(folder, classes, size, channels, crop) for folder in folders])


class ImageFiles(ImageSet):
    """Image files, decoded on access.

    Args:
        files: paths of the images.
        labels: (n, k) integers.
        label_names: one name per label column.
        size: side of the square images returned, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square cut out before resizing; by default the largest that fits.
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
        """Return decoded images and their labels.

        Raises:
            InputError: a file is missing or not an image.
        """
        from mmdprior.data.pillow import read_square

        channels, size, _ = self.image_shape
        images = torch.empty((len(indices), *self.image_shape), dtype=torch.uint8)
        for row, index in enumerate(indices.tolist()):
            images[row] = read_square(self.files[index], size, channels, self.crop)
        return images, self.labels[indices]


def _scan(folder: Path, classes: list[str], size: int, channels: int, crop: int | None) -> ImageFiles:
    """Return the images below a folder, labelled by its first-level folders."""
    files = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in _EXTENSIONS and Path(parent, name).is_file()
    )
    if not files:
        raise InputError(f"root: {folder} holds no images ({', '.join(sorted(_EXTENSIONS))})")
    numbers = {name: i for i, name in enumerate(classes)}
    labels = [numbers.get(path.relative_to(folder).parts[0], -1) for path in files]
    if not classes or -1 in labels:  # some image is in no class
        return ImageFiles(files, torch.empty(len(files), 0, dtype=torch.long), (), size, channels, crop)
    return ImageFiles(files, torch.tensor(labels)[:, None], ("class",), size, channels, crop)
