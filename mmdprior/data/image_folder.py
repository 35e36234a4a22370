"""Folders of image files."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mmdprior.data.arguments import check_count
from mmdprior.data.copies import copies_across, groups_of_copies
from mmdprior.data.folder_factors import factors_of_files
from mmdprior.data.folder_layout import FolderLayout, read_layout
from mmdprior.data.known_factors import KnownFactors
from mmdprior.data.pixel_range import RangeSetting
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, InputWarning

__all__ = ["ImageFiles", "image_folder"]


def image_folder(
    root: str,
    size: int,
    channels: Literal[1, 3] = 3,
    crop: int | None = None,
    background: int | str | Sequence[int] = "white",
    value_range: RangeSetting = None,
    factors: str | None = None,
) -> Source:
    """Open a folder of images, at any depth.

    Folders ``train`` (or ``training``), ``test`` (or ``testing``) and ``val`` (or ``valid``, ``validation``,
    ``dev``) in ``root`` are the splits, in upper or lower case. ``val`` is the test split if there is no
    ``test``. Without ``train`` all images under ``root`` are training images.

    The first-level folders of each split are the classes. Images in none of them are left out if they are the
    minority; otherwise there are no labels. Hidden files, system files and empty files are left out, and
    every real file is read once, however many links lead to it.

    The first frame of each file is rotated according to its EXIF orientation, and composited over
    ``background``.

    Args:
        root: folder of the images.
        size: side of the square images returned, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square cut out before resizing, in pixels (148 is usual for CelebA); by
            default the largest square that fits.
        background: colour behind transparent pixels: a name, '#rrggbb', a grey level, or [red, green, blue]
            from 0 to 255.
        value_range: stored values of black and white, such as [0, 4095]. By default they follow from the
            files, once for the whole folder: white is 255 in files of 8 bits, or 1 if they hold only 0 and
            1, and the largest number of 10, 12, 14 or 16 bits in files of 16 bits, whichever suffices. A
            mapping such as ``{uint16: [0, 4095]}`` gives the range of files of this type only.
        factors: table with known factors of variation, for supervised scores: ``FILE``, or
            ``FILE:COLUMN,COLUMN`` for some of its columns, in ``root`` or elsewhere (``.csv``, ``.tsv``,
            ``.txt`` or ``.parquet``). It has one row per image, the name of the file in a column ``file``,
            ``file_name``, ``filename``, ``image``, ``image_id``, ``image_name`` or ``path`` (otherwise the
            first one), and one column per factor. Text is discrete, and an empty cell is a missing value.
            Names are relative to ``root``; a name without its folder or suffix is enough where it is unique.

    Raises:
        InputError: the folder is missing or holds no images, two folders are the same split, the range of
            the pixels is unknown, a file of the table is no image or an image has no row, or an argument is
            invalid.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from mmdprior.data import image_folder
        >>> for name in ("ant", "bee"):
        ...     Path("insects", name).mkdir(parents=True)
        ...     Image.new("RGB", (40, 30), name == "ant" and "red" or "blue").save(f"insects/{name}/0.png")
        >>> source = image_folder("insects", size=16)
        >>> len(source.train), source.train.image_shape, source.train.label_names
        (2, (3, 16, 16), ('class',))
        >>> source.summary
        'insects: 2 images in 2 classes'
    """
    from mmdprior.data.pillow import Decoder, background_colour, readable_suffixes
    from mmdprior.data.probe import decoder_for

    check_count("size", size)
    if crop is not None:
        check_count("crop", crop)
    if channels not in (1, 3):
        raise InputError(f"channels: {channels!r} received; give 3 for RGB or 1 for grey")
    decoder = Decoder(size, channels, crop, background_colour(background))
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"root: {root} is not a folder; give the folder that holds the images")
    layout = read_layout(top, readable_suffixes())
    _warn_about_copies(layout)
    every_file = [file for files in layout.files.values() for file in files]
    decoder, notes, ranges = decoder_for(every_file, decoder, value_range)
    shape = (channels, size, size)
    tables, known = ({}, None) if factors is None else factors_of_files(factors, top, layout.files)
    sets = {}
    for split, files in layout.files.items():
        labels, names = _labels(layout, split)
        if known is not None:
            kept = [i for i, name in enumerate(names) if name not in known.kinds]
            labels = torch.cat([labels[:, kept].to(tables[split]), tables[split]], 1)
            names = (*(names[i] for i in kept), *known.kinds)
        sets[split] = ImageFiles(files, labels, names, shape, decoder.read, known)
    return Source(**sets, summary="; ".join([f"{root}: {layout.describe()}", *notes]), value_ranges=ranges)


class ImageFiles(ImageSet):
    """Image files, decoded on access.

    Args:
        files: paths of the images.
        labels: (n, k) integers.
        label_names: one name per label column.
        image_shape: (channels, height, width).
        read: picklable function that returns the image of a file as uint8.
        factors: which labels are known factors of variation; None if none is.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Tensor,
        label_names: tuple[str, ...],
        image_shape: tuple[int, int, int],
        read: Callable[[Path], Tensor],
        factors: KnownFactors | None = None,
    ) -> None:
        self.files = list(files)
        self.labels = labels
        self.label_names = label_names
        self.factors = factors
        self.image_shape = image_shape
        self.read = read

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return decoded images and their labels.

        Raises:
            InputError: a file is missing or not an image.
        """
        images = torch.empty((len(indices), *self.image_shape), dtype=torch.uint8)
        for row, index in enumerate(indices.tolist()):
            images[row] = self.read(self.files[index])
        return images, self.labels[indices]


def _labels(layout: FolderLayout, split: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels and label names of a split."""
    labels = layout.labels(split)
    if labels is None:
        return torch.empty(len(layout.files[split]), 0, dtype=torch.long), ()
    return torch.tensor(labels)[:, None], ("class",)


def _warn_about_copies(layout: FolderLayout) -> None:
    """Warn about files with the same bytes in two splits, or anywhere in a folder that is to be split."""
    for (one, other), pairs in copies_across(layout.files).items():
        _warn(
            f"{other} images that are copies of {one} images: {len(pairs)}, such as {pairs[0][1]} of "
            f"{pairs[0][0]}; remove them, because scores on them are too good"
        )
    if len(layout.files) == 1:
        groups = groups_of_copies(layout.files["train"])
        copies = sum(len(group) - 1 for group in groups)
        if copies:
            _warn(
                f"images that are copies of others: {copies}, such as {groups[0][1]} of {groups[0][0]}; "
                "remove them, because two splits may hold a copy each"
            )


def _warn(text: str) -> None:
    warnings.warn(f"data: {text}", InputWarning, stacklevel=3)
