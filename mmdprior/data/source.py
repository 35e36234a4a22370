"""The contracts of a data source, `ImageSet` and `Source`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdprior.data.known_factors import KnownFactors
from mmdprior.errors import InputError

__all__ = [
    "Concatenated",
    "ImageSet",
    "InMemory",
    "SampleKind",
    "Source",
    "Subset",
    "check_kind",
    "load_into_memory",
    "sample_kind",
    "thin",
    "to_float",
]

_CHUNK = 1024
"""Images read at a time when a whole set is read."""

SampleKind = Literal["images", "vectors", "signals"]
"""What the rows of a set are."""


def check_kind(kind: str | None) -> None:
    """Raise `InputError` unless a kind is that of images, vectors or signals, or None."""
    kinds = get_args(SampleKind)
    if kind is not None and kind not in kinds:
        raise InputError(f"kind: {kind!r} received; give {', '.join(kinds[:-1])} or {kinds[-1]}")


def sample_kind(shape: Sequence[int]) -> SampleKind:
    """Return what samples of a shape are: images (c, h, w), signals (c, t) or vectors (p,).

    Example:
        >>> from mmdprior.data.source import sample_kind
        >>> [sample_kind(shape) for shape in ((3, 32, 32), (2, 100), (12,))]
        ['images', 'signals', 'vectors']
    """
    kinds: dict[int, SampleKind] = {1: "vectors", 2: "signals"}
    return kinds.get(len(shape), "images")


class ImageSet(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images, signals or vectors of one shape, read by index.

    A subclass sets ``image_shape`` and implements ``__len__`` and `gather`. `gather` must be a function of
    the indices: random augmentation belongs to `Augmentation`. Worker processes and threads call it too, so
    a subclass must be picklable and must not share an open file between threads.
    `mmdprior.testing.check_source` checks all of this.

    Attributes:
        image_shape: (channels, height, width) of images, (channels, length) of signals, (features,) of
            vectors.
        dtype: ``torch.uint8``, or ``torch.float32`` for images in [0, 1], signals and vectors.
        label_names: one name per label column; empty without labels.
        factors: which labels are known factors of variation, for supervised scores; None if none is.

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

    image_shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8
    label_names: tuple[str, ...] = ()
    factors: KnownFactors | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels of some rows.

        Args:
            indices: (b,) integers in any order, on the CPU.

        Returns:
            Images (b, C, H, W), signals (b, C, T) or vectors (b, p) of ``dtype``, and labels (b, k) with one
            column per label name; k is 0 without labels.
        """

    def read_order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the random order in which an epoch reads some rows; by default a uniform permutation.

        Args:
            rows: (m,) row numbers.
            generator: source of the randomness, on the CPU.

        Returns:
            Permutation of the m positions in ``rows``.
        """
        return torch.randperm(len(rows), generator=generator)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image, signal or vector, and its labels (k,)."""
        images, labels = self.gather(torch.tensor([index]))
        return images[0], labels[0]

    def chunks(self, size: int = _CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images and labels in order, at most ``size`` rows at a time."""
        for start in range(0, len(self), size):
            yield self.gather(torch.arange(start, min(start + size, len(self))))


class InMemory(ImageSet):
    """Images, signals or vectors in one tensor, on any device.

    Args:
        images: images (n, C, H, W), uint8 from 0 to 255, float in [0, 1], or bool, where True is white;
            vectors (n, p) or signals (n, C, T), finite numbers in their own units.
        labels: (n, k), or None without labels.
        label_names: one name per label column; by default ``label_0``, ``label_1`` and so on.
        is_part: whether the images are part of a larger set. Only a part may hold uint8 images that are
            nearly black, with no value above 1.
        factors: which labels are known factors of variation; None if none is.
        kind: ``images``, ``signals`` or ``vectors``; required for three axes, which may be signals, or images
            without channels.

    Raises:
        InputError: there are no images, another number of axes, values that are not finite, float images that
            are not in [0, 1], uint8 images of only 0 and 1, or another number of label rows.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory
        >>> images = InMemory(torch.rand(10, 3, 32, 32), torch.arange(10)[:, None], ("class",))
        >>> len(images), images.image_shape, images[4][1].item()
        (10, (3, 32, 32), 4)
        >>> InMemory(100 * torch.randn(10, 6)).image_shape
        (6,)
        >>> InMemory(torch.randn(10, 2, 50), kind="signals").image_shape
        (2, 50)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        label_names: tuple[str, ...] = (),
        *,
        is_part: bool = False,
        factors: KnownFactors | None = None,
        kind: SampleKind | None = None,
    ) -> None:
        kind = _checked_kind(images, kind)
        if kind != "images":
            images = images.float()
            _check_finite(images, kind)
        elif images.dtype == torch.bool:
            images = images.to(torch.uint8) * 255
        elif images.dtype != torch.uint8:
            _check_floats(images)
            images = images.float()
        elif not is_part and int(images.max()) == 1:
            raise InputError(
                "images: uint8 images with no value above 1 received, where 255 is white; give "
                "images.bool(), or 255 * images"
            )
        labels = torch.empty(len(images), 0, dtype=torch.long) if labels is None else labels
        if labels.ndim != 2 or len(labels) != len(images):
            raise InputError(
                f"labels: shape {tuple(labels.shape)} received; give ({len(images)}, k), one row per image"
            )
        self.images = images
        self.labels = labels
        self.label_names = label_names or tuple(f"label_{i}" for i in range(labels.shape[1]))
        self.factors = factors
        self.dtype = images.dtype
        self.image_shape = tuple(images.shape[1:])
        self._source: ImageSet | None = None

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels, on the device of the tensors."""
        indices = indices.to(self.images.device)
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)

    def read_order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order of the set that was loaded: that of a run does not depend on where images are."""
        if self._source is None:
            return super().read_order(rows, generator)
        return self._source.read_order(rows, generator)

    def read_as(self, source: ImageSet) -> "InMemory":
        """Return this set with the order of another one, whose images it holds."""
        self._source = source
        return self

    def to(self, device: torch.device | str) -> "InMemory":
        """Return the same set on another device."""
        kind = sample_kind(self.image_shape)
        images, labels = self.images.to(device), self.labels.to(device)
        same = InMemory(images, labels, self.label_names, is_part=True, factors=self.factors, kind=kind)
        return same if self._source is None else same.read_as(self._source)


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
        self.factors = images.factors

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels of the parent's rows."""
        return self.parent.gather(self.rows[indices.cpu()])

    def read_order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order in which the parent reads these rows."""
        return self.parent.read_order(self.rows[rows], generator)


class Concatenated(ImageSet):
    """Several sets of images of one shape, one after another.

    The labels are kept if all sets have the same label names.

    Args:
        parts: the sets, at least one.

    Raises:
        InputError: the sets have images of different shapes.

    Example:
        >>> from mmdprior.data import Concatenated, sprites
        >>> both = Concatenated([sprites(images=10, seed=seed).train for seed in (0, 1)])
        >>> len(both), both.label_names[0]
        (20, 'shape')
    """

    def __init__(self, parts: Sequence[ImageSet]) -> None:
        shapes = {tuple(part.image_shape): None for part in parts}
        if len(shapes) > 1:
            raise InputError(f"data: images of shapes {list(shapes)} received; give all one shape")
        self.parts = list(parts)
        self.image_shape = parts[0].image_shape
        self.dtype = torch.uint8 if all(part.dtype == torch.uint8 for part in parts) else torch.float32
        names = {part.label_names for part in parts}
        self.label_names = names.pop() if len(names) == 1 else ()
        alike = self.label_names and all(part.factors == parts[0].factors for part in parts)
        self.factors = parts[0].factors if alike else None
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and labels of the rows, in the order of the indices."""
        rows = indices.cpu()
        places = torch.searchsorted(self._ends, rows, right=True)
        order, images, labels = [], [], []
        for place, part in enumerate(self.parts):
            chosen = (places == place).nonzero().flatten()
            if len(chosen):
                batch, batch_labels = part.gather(rows[chosen] - int(self._ends[place]) + len(part))
                order.append(chosen)
                images.append(to_float(batch) if self.dtype == torch.float32 else batch)
                labels.append(batch_labels if self.label_names else batch_labels[:, :0])
        back = torch.cat(order).argsort()
        return torch.cat(images)[back], torch.cat(labels)[back]


@dataclass(frozen=True)
class Source:
    """The result of opening a data set: its training images, and those of its own splits if it has any.

    A ``target`` in the ``data`` section of a config returns one, or only an `ImageSet`. `make_splits` turns
    it into training, validation and test splits.

    Attributes:
        train: images to train on, and to hold images out from for the splits that are None.
        test: images of the data set's own test split, none of them in ``train``; None if it has none.
        validation: images of the data set's own validation split, none of them in ``train`` or ``test``; None
            if it has none.
        summary: what was read, what was left out and how pixels were scaled, in one line; commands print it.
        value_ranges: stored values of black and white by the type of the files, such as ``{"uint16": (0,
            4095)}``, where they followed from the files. A checkpoint keeps them for other files.

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
    validation: ImageSet | None = None
    summary: str = ""
    value_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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
    kind = sample_kind(images.image_shape)
    loaded = InMemory(
        data, torch.cat(labels), images.label_names, is_part=True, factors=images.factors, kind=kind
    )
    return loaded.read_as(images)


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images from 0 to 255 as float32 in [0, 1]; floats unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


_AXES: dict[int, SampleKind] = {2: "vectors", 3: "signals", 4: "images"}
"""Kind by number of axes of a tensor of samples."""


def _checked_kind(images: Tensor, kind: SampleKind | None) -> SampleKind:
    """Return the kind of samples in a tensor; raise `InputError` where its axes are wrong or ambiguous."""
    check_kind(kind)
    received = f"images: shape {tuple(images.shape)} received"
    if images.numel() == 0 or images.ndim not in _AXES:
        raise InputError(f"{received}; give (n, channels, height, width), or vectors (n, features)")
    if kind is None and images.ndim == 3:
        raise InputError(
            f"{received}; give (n, channels, height, width), or kind='signals' for (n, channels, length)"
        )
    if kind is not None and kind != _AXES[images.ndim]:
        axes = {"images": "(n, channels, height, width)", "signals": "(n, channels, length)"}
        raise InputError(f"{received}; give {axes.get(kind, '(n, features)')} for kind={kind!r}")
    return _AXES[images.ndim]


def _check_finite(images: Tensor, kind: str) -> None:
    bad = ~torch.isfinite(images).flatten(1).all(1)
    if bool(bad.any()):
        raise InputError(
            f"{kind}: NaN or infinity in {int(bad.sum())} of {len(bad)} {kind}, the first at row "
            f"{int(bad.int().argmax())}; remove or repair them"
        )


def _check_floats(images: Tensor) -> None:
    """Raise `InputError` unless images are finite floats in [0, 1]."""
    if not images.is_floating_point():
        raise InputError(f"images: {images.dtype} received; give uint8, bool, or floats in [0, 1]")
    _check_finite(images, "images")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise InputError(f"images: values from {low:g} to {high:g} received; scale them to [0, 1]")
