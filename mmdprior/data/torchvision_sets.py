"""Data sets that torchvision downloads and reads; torchvision is imported when one is opened."""

from typing import Any, Literal

import torch
from torch import Tensor

from mmdprior.data.arguments import check_count
from mmdprior.data.known_factors import KnownFactors
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, reason

__all__ = ["TorchvisionName", "torchvision_set"]

TorchvisionName = Literal["celeba", "cifar10", "cifar100", "fashion_mnist", "kmnist", "mnist", "svhn"]

_CLASSES: dict[TorchvisionName, str] = {
    "celeba": "CelebA",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "mnist": "MNIST",
    "svhn": "SVHN",
}
"""Class in ``torchvision.datasets`` by name."""

_GREY = {"fashion_mnist", "kmnist", "mnist"}
_SPLIT_BY_NAME = {"celeba", "svhn"}
"""Data sets opened with ``split="train"``; the others take ``train=True``."""

_CELEBA_CROP = 148
"""Side in pixels of the centre square that is commonly cut out of CelebA images."""

_CELEBA_ATTRIBUTES = 40


def torchvision_set(dataset: TorchvisionName, root: str, size: int = 32, download: bool = True) -> Source:
    """Open a data set of torchvision, with its own test split.

    Args:
        dataset: name of the data set.
        root: folder of its files.
        size: side of the square images returned, in pixels. CelebA is cut to its central 148 first.
        download: whether to download missing files; torchvision verifies their checksums.

    Raises:
        InputError: files are missing or corrupt.

    Example:
        >>> from mmdprior.data import torchvision_set
        >>> torchvision_set("mnist", "data", download=False)
        Traceback (most recent call last):
        mmdprior.errors.InputError: root: mnist not found or corrupted in data (...); give its folder or
        set download: true
    """
    from torchvision import datasets

    check_count("size", size)
    open_part = getattr(datasets, _CLASSES[dataset])
    parts = (
        [{"split": "train"}, {"split": "test"}]
        if dataset in _SPLIT_BY_NAME
        else [{"train": True}, {"train": False}]
    )
    try:
        sets = [open_part(root, download=download, **part) for part in parts]
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"root: {dataset} not found or corrupted in {root} ({reason(error)}); give its folder or set "
            "download: true"
        ) from None
    train, test = (_TorchvisionImages(dataset, part, size) for part in sets)
    return Source(train, test)


class _TorchvisionImages(ImageSet):
    """A torchvision data set of (PIL image, label) pairs."""

    def __init__(self, name: TorchvisionName, dataset: Any, size: int) -> None:
        self.dataset = dataset
        self.crop = _CELEBA_CROP if name == "celeba" else None
        self.image_shape = (1 if name in _GREY else 3, size, size)
        # torchvision's list of CelebA attributes ends with an empty name.
        self.label_names = tuple(dataset.attr_names[:_CELEBA_ATTRIBUTES]) if name == "celeba" else ("class",)
        if name == "celeba":
            self.factors = KnownFactors(dict.fromkeys(self.label_names, "discrete"))

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return decoded images and their labels."""
        from mmdprior.data.pillow import to_square

        channels, size, _ = self.image_shape
        pairs = [self.dataset[i] for i in indices.tolist()]
        images = [to_square(image, size, channels, self.crop) for image, _ in pairs]
        labels = [torch.as_tensor(label).reshape(-1) for _, label in pairs]
        return torch.stack(images), torch.stack(labels)
