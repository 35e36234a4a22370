"""Tiny ImageNet-200, read from its own folder layout."""

from pathlib import Path

import torch

from mmdprior.data.arguments import check_count
from mmdprior.data.folder_scan import is_hidden
from mmdprior.data.image_folder import ImageFiles
from mmdprior.data.source import Source
from mmdprior.errors import InputError

__all__ = ["tiny_imagenet"]

_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_FOLDER = "tiny-imagenet-200"


def tiny_imagenet(root: str, size: int = 64, download: bool = True) -> Source:
    """Open Tiny ImageNet (Stanford CS231n; 200 classes of ImageNet at 64 x 64 pixels).

    The labelled validation images are the test split, because the test images have no labels.

    Args:
        root: the folder ``tiny-imagenet-200``, or the folder that contains it.
        size: side of the images returned, in pixels.
        download: whether to download the archive into ``root`` if the folder is missing; its MD5 checksum
            is verified.

    Raises:
        InputError: the folder is missing or incomplete, or the download fails.

    Example:
        >>> from mmdprior.data import tiny_imagenet
        >>> tiny_imagenet("data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: data holds no tiny-imagenet-200/wnids.txt; give its folder, or
        set download: true
    """
    check_count("size", size)
    top = Path(root).expanduser()
    folder = top if (top / "wnids.txt").is_file() else top / _FOLDER
    if not (folder / "wnids.txt").is_file():
        if not download:
            raise InputError(
                f"root: {root} holds no {_FOLDER}/wnids.txt; give its folder, or set download: true"
            )
        _download(top)
    # A class is a WordNet id such as n01443537.
    wnids = sorted((folder / "wnids.txt").read_text().split())
    numbers = {wnid: i for i, wnid in enumerate(wnids)}
    train = [
        (path, numbers[wnid])
        for wnid in wnids
        for path in sorted((folder / "train" / wnid / "images").glob("*.JPEG"))
        if not is_hidden(path.name)
    ]
    return Source(
        _image_files(folder / "train", train, size),
        _image_files(folder / "val", _validation_files(folder / "val", numbers), size),
    )


def _download(top: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        download_and_extract_archive(_URL, str(top), md5=_MD5)
    except (OSError, RuntimeError) as error:
        raise InputError(f"download: {_URL} failed ({error}); unpack it under {top}") from None


def _validation_files(folder: Path, numbers: dict[str, int]) -> list[tuple[Path, int]]:
    """Return the paths and class numbers of the validation images, which are all in one folder."""
    annotations = folder / "val_annotations.txt"
    if not annotations.is_file():
        raise InputError(f"root: {annotations} is missing; unpack the archive again")
    rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line]
    files = [(folder / "images" / name, numbers[wnid]) for name, wnid in sorted(rows)]
    return [(path, number) for path, number in files if path.is_file()]


def _image_files(folder: Path, files: list[tuple[Path, int]], size: int) -> ImageFiles:
    from mmdprior.data.pillow import Decoder

    if not files:
        raise InputError(f"root: {folder} holds no images; unpack the archive again")
    labels = torch.tensor([number for _, number in files])[:, None]
    read = Decoder(size, channels=3).read
    return ImageFiles([path for path, _ in files], labels, ("class",), (3, size, size), read)
