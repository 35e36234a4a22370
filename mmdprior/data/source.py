"""The contracts of a data source, `ImageSet` and `Source`, and the splits made from one."""

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
"""Images read at a time when a whole set is read."""


class ImageSet(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images of one shape, read by index.

    A subclass sets ``image_shape`` and implements ``__len__`` and `gather`. `gather` must be a function of
    the indices: random augmentation belongs to `Augmentation`. Worker processes and threads call it too, so
    a subclass must be picklable and must not share an open file between threads.
    `mmdprior.testing.check_source` checks all of this.

    Attributes:
        image_shape: (channels, height, width).
        dtype: ``torch.uint8``, or ``torch.float32`` for images in [0, 1].
        label_names: one name per label column; empty without labels.

    Example:
        >>> import torch
        >>> from mmdprior.data import ImageSet
        >>> class Stripes(ImageSet):
        ...     image_shape = (1, 32, 32)
        ...     label_names = ("column",)
        ...     def __len__(self):
        ...         return 32
        ...     def gather(self, indices):
        ...         images = torch.zeros(len(indices), 1, 32, 32, dtype=torch.uint8)
        ...         images[torch.arange(len(indices)), :, :, indices] = 255
        ...         return images, indices[:, None]
        >>> images, labels = Stripes().gather(torch.tensor([3, 5]))
        >>> images.shape, labels.tolist()
        (torch.Size([2, 1, 32, 32]), [[3], [5]])
    """

    image_shape: tuple[int, int, int]
    dtype: torch.dtype = torch.uint8
    label_names: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels of some rows.

        Args:
            indices: (b,) integers in any order, on the CPU.

        Returns:
            Images (b, C, H, W) of ``dtype``, and labels (b, k) with one column per label name; k is 0
            without labels.
        """

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image (C, H, W) and its labels (k,)."""
        images, labels = self.gather(torch.tensor([index]))
        return images[0], labels[0]

    def chunks(self, size: int = _CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images and labels in order, at most ``size`` rows at a time."""
        for start in range(0, len(self), size):
            yield self.gather(torch.arange(start, min(start + size, len(self))))


class InMemory(ImageSet):
    """Images in one tensor, on any device.

    Args:
        images: (n, C, H, W), uint8, or float in [0, 1].
        labels: (n, k), or None without labels.
        label_names: one name per label column; by default ``label_0``, ``label_1`` and so on.

    Raises:
        InputError: there are no images or not four axes, float images are not finite or not in [0, 1], or
            the number of label rows differs.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory
        >>> images = InMemory(torch.rand(10, 3, 32, 32), torch.arange(10)[:, None], ("class",))
        >>> len(images), images.image_shape, images[4][1].item()
        (10, (3, 32, 32), 4)
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
                f"labels: shape {tuple(labels.shape)} received; give ({len(images)}, k), one row per image"
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
        """Return images and labels, on the device of the tensors."""
        indices = indices.to(self.images.device)
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)

    def to(self, device: torch.device | str) -> "InMemory":
        """Return the same set on another device."""
        return InMemory(self.images.to(device), self.labels.to(device), self.label_names)


class Subset(ImageSet):
    """Some rows of another set.

    Args:
        images: the other set.
        rows: (m,) row numbers of it, in the order that the subset has.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory, Subset
        >>> images = InMemory(torch.rand(10, 1, 8, 8), torch.arange(10)[:, None])
        >>> Subset(images, torch.tensor([7, 2])).gather(torch.arange(2))[1].tolist()
        [[7], [2]]
    """

    def __init__(self, images: ImageSet, rows: Tensor) -> None:
        self.parent = images
        self.rows = rows
        self.image_shape = images.image_shape
        self.dtype = images.dtype
        self.label_names = images.label_names

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels of the parent's rows."""
        return self.parent.gather(self.rows[indices.cpu()])


@dataclass(frozen=True)
class Source:
    """The result of opening a data set: its training images, and its test images if it has a test split.

    A ``target`` in the ``data`` section of a config returns one, or only an `ImageSet`. `make_splits` turns
    it into training, validation and test splits.

    Attributes:
        train: images to split into training and validation images, and test images if ``test`` is None.
        test: images of the data set's own test split, none of them in ``train``; None if it has no split.

    Example:
        A function in your own file ``my_data.py``, named in a config as ``data: {target:
        "my_data.py:noise", images: 500}``:

        >>> import torch
        >>> from mmdprior.data import InMemory, Source, make_splits
        >>> from mmdprior.testing import check_source
        >>> def noise(images: int = 100) -> Source:
        ...     return Source(InMemory(torch.rand(images, 1, 8, 8)), test=InMemory(torch.rand(20, 1, 8, 8)))
        >>> check_source(noise())
        >>> splits = make_splits(noise(), validation=0.1)
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (90, 10, 20)
    """

    train: ImageSet
    test: ImageSet | None = None


@dataclass(frozen=True)
class Splits:
    """Three sets of images without a common row.

    Attributes:
        train: images to train on.
        validation: images scored during training, for early stopping and the choice of the best checkpoint.
        test: images that the reported scores are computed on.

    Example:
        >>> from mmdprior.data import Splits, sprites
        >>> train, validation, test = (sprites(images=50, seed=seed).train for seed in range(3))
        >>> len(Splits(train, validation, test).validation)
        50
    """

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
    """Split a source into training, validation and test images; a function of the seed.

    Args:
        source: a source with its own test images, which become the test split unchanged, or without.
        validation: number of images to hold out, or their fraction of the source's training images.
        test: number or fraction of images to hold out; not used for a source with its own test images.
        limit: number of training images to keep; by default all.
        seed: seed of the permutation.

    Raises:
        InputError: a held-out split or the training split would be empty, or the source's training and test
            images differ in shape.

    Example:
        >>> from mmdprior.data import make_splits, sprites
        >>> splits = make_splits(sprites(images=100), validation=20, test=0.1, seed=1)
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (70, 20, 10)
    """
    if source.test is not None and tuple(source.test.image_shape) != tuple(source.train.image_shape):
        raise InputError(
            f"data: test images of shape {tuple(source.test.image_shape)} and training images of shape "
            f"{tuple(source.train.image_shape)} received; give both one shape"
        )
    n = len(source.train)
    order = torch.randperm(n, generator=stream(seed, "split"))
    n_validation = _held_out("data.validation", validation, n)
    n_test = 0 if source.test is not None else _held_out("data.test", test, n)
    n_train = n - n_validation - n_test
    if n_train < 1:
        raise InputError(f"data.validation: {n} images leave none to train on; hold out fewer")
    if limit is not None and not 1 <= limit <= n_train:
        raise InputError(f"data.limit: {limit} received; there are {n_train} training images")

    def subset(rows: Tensor) -> Subset:
        # Sorted, so that images are read in the order in which they are stored.
        return Subset(source.train, rows.sort().values)

    return Splits(
        train=subset(order[n_validation + n_test :][:limit]),
        validation=subset(order[:n_validation]),
        test=subset(order[n_validation:][:n_test]) if source.test is None else source.test,
    )


def thin(images: ImageSet, limit: int | None) -> ImageSet:
    """Return at most ``limit`` images, evenly spaced, because files are often sorted by class.

    Args:
        images: the set to take images from.
        limit: largest number of images; None for all.

    Example:
        >>> from mmdprior.data import sprites, thin
        >>> thin(sprites(images=100).train, 4).rows.tolist()
        [0, 25, 50, 75]
    """
    if limit is None or len(images) <= limit:
        return images
    return Subset(images, torch.arange(limit) * len(images) // limit)


def load_into_memory(images: ImageSet) -> InMemory:
    """Read a whole set into one tensor, with one thread per core.

    Raises:
        InputError: an image cannot be read.
    """
    if isinstance(images, InMemory):
        return images
    data = torch.empty((len(images), *images.image_shape), dtype=images.dtype)

    def read(start: int) -> Tensor:
        rows = torch.arange(start, min(start + _CHUNK, len(images)))
        data[rows], labels = images.gather(rows)
        return labels

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        labels = list(pool.map(read, range(0, len(images), _CHUNK)))
    return InMemory(data, torch.cat(labels), images.label_names)


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; float images unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _check_floats(images: Tensor) -> None:
    """Raise `InputError` unless images are finite floats in [0, 1]."""
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


def _held_out(name: str, size: int | float, n: int) -> int:
    """Return the size of a held-out split of n images."""
    count = size if isinstance(size, int) else round(size * n)
    if not 1 <= count < n:
        raise InputError(f"{name}: {size} received; hold out at least 1 of the {n} images, but not all")
    return count
