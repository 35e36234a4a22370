"""The contract of a data source: images by index, with labels or factors, in three splits."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = [
    "ImageSet",
    "InMemory",
    "Source",
    "Splits",
    "Subset",
    "load_into_memory",
    "make_splits",
    "thin",
    "to_float",
]

_CHUNK = 1024


class ImageSet(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images of one shape, read by index.

    Attributes:
        image_shape: (channels, height, width).
        dtype: ``torch.uint8``, or ``torch.float32`` for images in [0, 1].
        label_names: one name a label column; empty where there are no labels.
    """

    image_shape: tuple[int, int, int]
    dtype: torch.dtype = torch.uint8
    label_names: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (b, C, H, W) and labels (b, k); k is 0 where there are none."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image and its labels."""
        images, labels = self.gather(torch.tensor([index]))
        return images[0], labels[0]

    def chunks(self, size: int = _CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images and labels in order."""
        for start in range(0, len(self), size):
            yield self.gather(torch.arange(start, min(start + size, len(self))))


class InMemory(ImageSet):
    """Images held in one tensor, on any device.

    Args:
        images: (n, C, H, W), uint8, or float in [0, 1].
        labels: (n, k), or None.
        label_names: one a column of labels.

    Raises:
        InputError: no images, not four axes, float images that are not finite or leave [0, 1], or
            labels of another length.
    """

    def __init__(
        self, images: Tensor, labels: Tensor | None = None, label_names: tuple[str, ...] = ()
    ) -> None:
        if images.ndim != 4 or len(images) == 0:
            raise InputError(
                f"images: shape {tuple(images.shape)} received; give (n, channels, height, width)"
            )
        if images.dtype != torch.uint8:
            _check_floats(images)
            images = images.float()
        labels = torch.empty(len(images), 0, dtype=torch.long) if labels is None else labels
        if labels.ndim != 2 or len(labels) != len(images):
            raise InputError(
                f"labels: shape {tuple(labels.shape)} received; give ({len(images)}, k), a row an image"
            )
        self.images = images
        self.labels = labels
        self.label_names = label_names or tuple(f"label_{i}" for i in range(labels.shape[1]))
        self.dtype = images.dtype
        channels, height, width = images.shape[1:]
        self.image_shape = (channels, height, width)

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels on the device where they lie."""
        indices = indices.to(self.images.device)
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)

    def to(self, device: torch.device | str) -> "InMemory":
        """Return the same set on another device."""
        return InMemory(self.images.to(device), self.labels.to(device), self.label_names)


class Subset(ImageSet):
    """Some rows of another set, in the order given."""

    def __init__(self, images: ImageSet, rows: Tensor) -> None:
        self.parent = images
        self.rows = rows
        self.image_shape = images.image_shape
        self.dtype = images.dtype
        self.label_names = images.label_names

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parent's images and labels."""
        return self.parent.gather(self.rows[indices.cpu()])


def thin(images: ImageSet, limit: int | None) -> ImageSet:
    """Return at most ``limit`` images, evenly spaced, since files often come sorted by class."""
    if limit is None or len(images) <= limit:
        return images
    return Subset(images, torch.arange(limit) * len(images) // limit)


@dataclass(frozen=True)
class Source:
    """What a data source returns: images to train on, and its own test images where it has them."""

    train: ImageSet
    test: ImageSet | None = None


@dataclass(frozen=True)
class Splits:
    """Disjoint sets: to train on, to select by, to report."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


def make_splits(
    source: Source,
    *,
    validation: int | float = 0.1,
    test: int | float = 0.1,
    limit: int | None = None,
    seed: int = 0,
) -> Splits:
    """Split a source, the same way for the same seed.

    Args:
        source: with or without its own test set, which is then the test split whole.
        validation: images to hold out, a count or a fraction of the source's training images.
        test: likewise, for sources without their own test set.
        limit: keep this many training images.
        seed: of the permutation.

    Raises:
        InputError: nothing left to train on, or an empty held-out split.
    """
    if source.test is not None and tuple(source.test.image_shape) != tuple(source.train.image_shape):
        raise InputError(
            f"data: test images of shape {tuple(source.test.image_shape)} beside training images of "
            f"{tuple(source.train.image_shape)}; give both one shape"
        )
    n = len(source.train)
    order = torch.randperm(n, generator=stream(seed, "split"))
    held = _count("data.validation", validation, n)
    held_test = 0 if source.test is not None else _count("data.test", test, n)
    rest = n - held - held_test
    if rest < 1:
        raise InputError(f"data.validation: {n} images leave none to train on; hold out fewer")
    if limit is not None and not 1 <= limit <= rest:
        raise InputError(f"data.limit: {limit} received; {rest} training images are there")
    train = order[held + held_test :][:limit]
    held_out = Subset(source.train, order[held : held + held_test].sort().values)
    return Splits(
        train=Subset(source.train, train.sort().values),
        validation=Subset(source.train, order[:held].sort().values),
        test=held_out if source.test is None else source.test,
    )


def load_into_memory(images: ImageSet) -> InMemory:
    """Read a whole set into one tensor, with a thread a core.

    Raises:
        InputError: images that cannot be read.
    """
    if isinstance(images, InMemory):
        return images
    data = torch.empty((len(images), *images.image_shape), dtype=images.dtype)
    starts = range(0, len(images), _CHUNK)

    def read(start: int) -> Tensor:
        rows = torch.arange(start, min(start + _CHUNK, len(images)))
        data[rows], labels = images.gather(rows)
        return labels

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        labels = list(pool.map(read, starts))
    return InMemory(data, torch.cat(labels), images.label_names)


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; float images unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _check_floats(images: Tensor) -> None:
    if not images.is_floating_point():
        raise InputError(f"images: {images.dtype} received; give uint8, or floats in [0, 1]")
    bad = ~torch.isfinite(images).flatten(1).all(1)
    if bool(bad.any()):
        raise InputError(
            f"images: NaN or infinity in {int(bad.sum())} of {len(images)} images, the first at row "
            f"{int(bad.int().argmax())}; remove or repair them"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise InputError(f"images: values from {low:g} to {high:g} received; scale them to [0, 1]")


def _count(name: str, size: int | float, n: int) -> int:
    count = size if isinstance(size, int) else round(size * n)
    if not 1 <= count < n:
        raise InputError(f"{name}: {size} received; hold out at least 1 of the {n} images, not all")
    return count
