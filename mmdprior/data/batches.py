"""Training batches, from images in the memory of the training device or streamed from disk."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mmdprior.data.augmentation import Augmentation
from mmdprior.data.source import ImageSet, InMemory, load_into_memory, sample_kind, to_float
from mmdprior.errors import InputError
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Batch", "Batches", "ResidentBatches", "StreamingBatches", "fits_in_memory"]

_MEMORY_SHARE = 0.25
"""Largest share of a device's free memory that resident images may occupy."""

_ASSUMED_MEMORY = 16 * 2**30
"""Free bytes assumed on devices that do not report them."""


@dataclass(frozen=True)
class Batch:
    """This rank's rows of one training batch, on the training device.

    Attributes:
        images: (n, C, H, W) float in [0, 1]; (n, C, T) or (n, p) for signals or vectors.
        labels: (n, k) labels; k is 0 without labels.
        indices: row numbers in the training set of the whole global batch, on the CPU.
        labelled: this rank's rows of the labelled batch of the step; None without one.

    Example:
        >>> from mmdprior.data import ResidentBatches, sprites
        >>> batch = next(ResidentBatches(sprites(images=100).train, batch_size=32, seed=0).stream())
        >>> batch.images.dtype, batch.labels.shape, batch.indices.shape
        (torch.float32, torch.Size([32, 5]), torch.Size([32]))
    """

    images: Float[Tensor, "n *sample"]
    labels: Tensor
    indices: Tensor
    labelled: "Batch | None" = None


class Batches(ABC):
    """Base class of loaders: an endless sequence of batches that is a function of the seed.

    Every epoch is a new permutation of the training set, without its last incomplete batch. A resumed run
    enters the sequence directly at its step. Order and augmentation are those of the global batch, of which
    every rank gets its own rows.

    Args:
        images: the training set.
        batch_size: images per global batch.
        seed: seed of order and augmentation.
        augmentation: random flips and shifts, computed on the training device; none by default.
        world: the processes that share each batch; one process by default.

    Raises:
        InputError: the batch is larger than the training set, or not a multiple of the number of processes.

    Example:
        A training loop takes batches from `stream`; ``start`` is the step of a resumed run:

        >>> from itertools import islice
        >>> from mmdprior.data import ResidentBatches, sprites
        >>> batches = ResidentBatches(sprites(images=100).train, batch_size=32, seed=0)
        >>> first = [batch.indices for batch in islice(batches.stream(), 5)]
        >>> resumed = next(batches.stream(start=4)).indices
        >>> bool((resumed == first[4]).all())
        True
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        augmentation: Augmentation = Augmentation(),  # noqa: B008, it is frozen
        world: World = World(),  # noqa: B008, it is frozen
    ) -> None:
        if not 1 <= batch_size <= len(images):
            raise InputError(
                f"data.batch_size: {batch_size} received; there are {len(images)} training "
                f"{sample_kind(images.image_shape)}"
            )
        if batch_size % world.size:
            raise InputError(
                f"data.batch_size: {batch_size} received; give a multiple of the {world.size} processes"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.share = world.rows(batch_size)
        self.steps_per_epoch = len(images) // batch_size

    def epochs(self, start: int) -> Iterator[tuple[Tensor, range]]:
        """Yield the permutation of each epoch and the offsets of its batches, from step ``start`` on."""
        epoch, position = divmod(start, self.steps_per_epoch)
        while True:
            rows = torch.arange(len(self.images))
            order = self.images.read_order(rows, stream(self.seed, "order", epoch))
            size = self.batch_size
            yield order, range(position * size, self.steps_per_epoch * size, size)
            epoch, position = epoch + 1, 0

    def rows(self, start: int) -> Iterator[Tensor]:
        """Yield the row numbers of each global batch, from step ``start`` on."""
        for order, offsets in self.epochs(start):
            for offset in offsets:
                yield order[offset : offset + self.batch_size]

    @abstractmethod
    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, endlessly."""

    def _batch(self, images: Tensor, labels: Tensor, rows: Tensor, step: int) -> Batch:
        """Return the batch of images that are on the device: augmented, float, in [0, 1]."""
        if self.augmentation:
            generator = stream(self.seed, "augmentation", step, images.device)
            images = self.augmentation(images, self.batch_size, self.share, generator)
        return Batch(to_float(images), labels, rows)


class ResidentBatches(Batches):
    """Batches indexed from one tensor that holds all images on the training device.

    Args:
        images: the training set; it is read into memory once.
        batch_size: images per global batch.
        seed: seed of order and augmentation.
        device: the training device.
        augmentation: random flips and shifts; none by default.
        world: the processes that share each batch; one process by default.

    Example:
        >>> from mmdprior.data import ResidentBatches, sprites
        >>> batches = ResidentBatches(sprites(images=100).train, batch_size=32, seed=0)
        >>> batch = next(batches.stream())
        >>> batches.steps_per_epoch, batch.images.shape
        (3, torch.Size([32, 1, 64, 64]))
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        augmentation: Augmentation = Augmentation(),  # noqa: B008, it is frozen
        world: World = World(),  # noqa: B008, it is frozen
    ) -> None:
        resident = load_into_memory(images).to(device)
        super().__init__(resident, batch_size, seed, augmentation, world)
        self.device = resident.images.device

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, endlessly."""
        step = start
        for order, offsets in self.epochs(start):
            # Copied once per epoch: the host waits for this transfer, but not for the indexing per batch.
            device_order = order.to(self.device)
            for offset in offsets:
                span = slice(offset, offset + self.batch_size)
                images, labels = self.images.gather(device_order[span][self.share])
                yield self._batch(images, labels, order[span], step)
                step += 1


class StreamingBatches(Batches):
    """Batches read by DataLoader workers during training, for images that do not fit in memory.

    Args:
        images: the training set.
        batch_size: images per global batch.
        seed: seed of order and augmentation.
        device: the training device.
        workers: number of DataLoader worker processes; 0 reads in this process.
        augmentation: random flips and shifts; none by default.
        world: the processes that share each batch; one process by default.

    Example:
        >>> from mmdprior.data import StreamingBatches, sprites
        >>> batches = StreamingBatches(sprites(images=100).train, batch_size=32, seed=0)
        >>> next(batches.stream(start=5)).images.shape
        torch.Size([32, 1, 64, 64])
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        workers: int = 0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008, it is frozen
        world: World = World(),  # noqa: B008, it is frozen
    ) -> None:
        super().__init__(images, batch_size, seed, augmentation, world)
        self.device = torch.device(device)
        self.workers = workers

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, endlessly.

        Raises:
            InputError: an image cannot be read, or a worker process died.
        """
        pinned = self.device.type == "cuda"  # pinned memory lets the copy to the GPU overlap with compute
        loader = DataLoader(
            _GlobalBatchDataset(self.images, self.share),
            batch_size=None,  # the sampler yields whole batches
            sampler=_GlobalBatchSampler(self, start),
            num_workers=self.workers,
            pin_memory=pinned,
            # Otherwise each loader draws its seed from the global generator. A resumed run starts one loader
            # more than an uninterrupted run, and modules such as dropout would draw other numbers.
            generator=stream(self.seed, "loader"),
        )
        for step, (images, labels, rows) in enumerate(_one_line_errors(loader), start):
            images = images.to(self.device, non_blocking=pinned)
            labels = labels.to(self.device, non_blocking=pinned)
            yield self._batch(images, labels, rows.cpu(), step)


_Item = tuple[Tensor, Tensor, Tensor]
"""Images and labels of this rank, and the row numbers of the global batch."""


class _GlobalBatchDataset(torch.utils.data.Dataset[_Item]):
    """Read this rank's share of a global batch, given the row numbers of the global batch."""

    def __init__(self, images: ImageSet, share: slice) -> None:
        self.images = images
        self.share = share

    def __getitem__(self, rows: Tensor) -> _Item:
        return (*self.images.gather(rows[self.share]), rows)


class _GlobalBatchSampler(Sampler[Tensor]):
    """Yield the row numbers of each global batch, from a step on."""

    def __init__(self, batches: Batches, start: int) -> None:
        self.batches = batches
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches.rows(self.start)


def _one_line_errors(loader: Iterable[_Item]) -> Iterator[_Item]:
    """Yield the items of a loader; re-raise errors of its workers without the worker's traceback."""
    try:
        yield from loader
    except (InputError, RuntimeError) as error:  # RuntimeError: a worker process was killed
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if isinstance(error, InputError):
            # The DataLoader puts the worker's traceback in the message; its last line is the original error.
            raise InputError(lines[-1].partition("InputError: ")[2] or lines[-1]) from None
        raise InputError(f"data.workers: {lines[0] if lines else 'a worker died'}; give fewer") from error


def fits_in_memory(images: ImageSet, device: torch.device | str) -> bool:
    """Return whether a set occupies at most a quarter of the device's free memory.

    Args:
        images: a set; one that is in memory already fits.
        device: the training device. Devices other than CUDA are assumed to have 16 GiB.
    """
    device = torch.device(device)
    size = len(images) * torch.Size(images.image_shape).numel() * images.dtype.itemsize
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _ASSUMED_MEMORY
    return isinstance(images, InMemory) or size <= _MEMORY_SHARE * free
