"""Data sets that torchvision knows how to download and read."""

from typing import Literal

import torch
from torch import Tensor
from torchvision import datasets

from mmdprior.data.image_folder import to_square
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError, reason

__all__ = ["TorchvisionName", "torchvision_set"]

TorchvisionName = Literal["celeba", "cifar10", "cifar100", "fashion_mnist", "kmnist", "mnist", "svhn"]

_CLASSES = {
    "celeba": datasets.CelebA,
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "fashion_mnist": datasets.FashionMNIST,
    "kmnist": datasets.KMNIST,
    "mnist": datasets.MNIST,
    "svhn": datasets.SVHN,
}
_GREY = {"fashion_mnist", "kmnist", "mnist"}
_CELEBA_CROP = 148


class _Wrapped(ImageSet):
    """A torchvision data set of (PIL image, label) pairs."""

    def __init__(self, name: TorchvisionName, dataset: datasets.VisionDataset, size: int) -> None:
        self.dataset = dataset
        self.crop = _CELEBA_CROP if name == "celeba" else None
        self.image_shape = (1 if name in _GREY else 3, size, size)
        self.label_names = tuple(dataset.attr_names[:40]) if name == "celeba" else ("class",)

    def __len__(self) -> int:
        return len(self.dataset)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Read images and labels."""
        channels, size, _ = self.image_shape
        pairs = [self.dataset[i] for i in indices.tolist()]
        images = [to_square(image, size, channels, self.crop) for image, _ in pairs]
        labels = [torch.as_tensor(label).reshape(-1) for _, label in pairs]
        return torch.stack(images), torch.stack(labels)


def torchvision_set(dataset: TorchvisionName, root: str, size: int = 32, download: bool = True) -> Source:
    """Open one of torchvision's data sets with its own test split.

    Args:
        dataset: which one.
        root: folder of its files.
        size: side of the square images returned, in pixels. CelebA is cut to its central 148 first.
        download: fetch what is absent; torchvision checks the files.

    Raises:
        InputError: files that are absent or corrupt.
    """
    kind = _CLASSES[dataset]
    named = dataset in {"celeba", "svhn"}
    parts = (
        [{"split": split} for split in ("train", "test")] if named else [{"train": True}, {"train": False}]
    )
    try:
        sets = [kind(root, download=download, **part) for part in parts]
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"root: {dataset} not found or corrupted in {root} ({reason(error)}); give its folder or set "
            "download: true"
        ) from None
    return Source(*[_Wrapped(dataset, part, size) for part in sets])
