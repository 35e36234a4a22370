"""Tiny ImageNet-200 in its own tree."""

from pathlib import Path

import torch
from torchvision.datasets.utils import download_and_extract_archive

from mmdprior.data.image_folder import ImageFiles
from mmdprior.data.source import Source
from mmdprior.errors import InputError

__all__ = ["tiny_imagenet"]

_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_FOLDER = "tiny-imagenet-200"


def tiny_imagenet(root: str, size: int = 64, download: bool = True) -> Source:
    """Open Tiny ImageNet (Stanford CS231n; 200 classes of ImageNet at 64 x 64 pixels).

    Its labelled validation images are the test split, since its test images have no labels.

    Args:
        root: the folder ``tiny-imagenet-200``, or the one that holds it.
        size: side of the images returned, in pixels.
        download: fetch the archive into root and check it by md5 when the tree is absent.

    Raises:
        InputError: a tree that is absent or incomplete.
    """
    top = Path(root).expanduser()
    tree = top if (top / "wnids.txt").is_file() else top / _FOLDER
    if not (tree / "wnids.txt").is_file():
        if not download:
            raise InputError(f"root: {root} holds no {_FOLDER}/wnids.txt; give its folder, or allow download")
        try:
            download_and_extract_archive(_URL, str(top), md5=_MD5)
        except (OSError, RuntimeError) as error:
            raise InputError(f"download: {_URL} failed ({error}); unpack it under {root}") from None
    wnids = (tree / "wnids.txt").read_text().split()
    numbers = {wnid: i for i, wnid in enumerate(sorted(wnids))}
    train = [
        (path, numbers[wnid])
        for wnid in sorted(wnids)
        for path in sorted((tree / "train" / wnid / "images").glob("*.JPEG"))
    ]
    return Source(
        _labelled(tree / "train", train, size),
        _labelled(tree / "val", _validation(tree / "val", numbers), size),
    )


def _validation(folder: Path, numbers: dict[str, int]) -> list[tuple[Path, int]]:
    annotations = folder / "val_annotations.txt"
    if not annotations.is_file():
        raise InputError(f"root: {annotations} is missing; unpack the archive again")
    rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line]
    paths = [(folder / "images" / name, numbers[wnid]) for name, wnid in sorted(rows)]
    return [(path, number) for path, number in paths if path.is_file()]


def _labelled(folder: Path, files: list[tuple[Path, int]], size: int) -> ImageFiles:
    if not files:
        raise InputError(f"root: {folder} holds no images; unpack the archive again")
    labels = torch.tensor([number for _, number in files])[:, None]
    return ImageFiles([path for path, _ in files], labels, ("class",), size)
