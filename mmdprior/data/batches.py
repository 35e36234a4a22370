"""Training batches: from a tensor on the training device, or streamed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mmdprior.data.augmentation import Augmentation
from mmdprior.data.source import ImageSet, InMemory, load_into_memory, to_float
from mmdprior.errors import InputError
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Batch", "Batches", "ResidentBatches", "StreamingBatches", "fits_in_memory"]

_SHARE = 0.25
"""Share of a device's memory that resident images may take."""

_Read = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """One training batch, this process's part of it on the training device.

    Attributes:
        images: float in [0, 1].
        labels: (n, k).
        indices: rows of the training set, on the CPU, of the global batch.
    """

    images: Float[Tensor, "n c h w"]
    labels: Tensor
    indices: Tensor


class Batches(ABC):
    """An endless sequence of batches, a function of the seed: any step can be entered directly.

    Every epoch is a new permutation; its last, incomplete batch is left out. The order and the augmentation
    are those of the global batch, of which every process takes its own rows.

    Args:
        images: the training set.
        batch_size: images of a global batch.
        seed: of order and augmentation.
        augmentation: of the images, on the training device.
        world: the processes that share each batch.

    Raises:
        InputError: a batch larger than the set, or one that the processes cannot share evenly.
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
                f"data.batch_size: {batch_size} received; there are {len(images)} training images"
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
        """Yield the order of every epoch from step ``start`` on, and the first rows of its batches."""
        epoch, position = divmod(start, self.steps_per_epoch)
        while True:
            order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
            size = self.batch_size
            yield order, range(position * size, self.steps_per_epoch * size, size)
            epoch, position = epoch + 1, 0

    def rows(self, start: int) -> Iterator[Tensor]:
        """Yield the row numbers of every global batch from step ``start`` on."""
        for order, firsts in self.epochs(start):
            for first in firsts:
                yield order[first : first + self.batch_size]

    @abstractmethod
    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, without end."""

    def _batch(self, images: Tensor, labels: Tensor, rows: Tensor, step: int) -> Batch:
        """Augment and normalise what has arrived on the device."""
        if self.augmentation:
            generator = stream(self.seed, "augmentation", step, images.device)
            images = self.augmentation(images, self.batch_size, self.share, generator)
        return Batch(to_float(images), labels, rows)


class ResidentBatches(Batches):
    """All images in one tensor on the training device, indexed there."""

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
        """Yield the batches from step ``start`` on, without end; the host waits once an epoch."""
        step = start
        for order, firsts in self.epochs(start):
            there = order.to(self.device)
            for first in firsts:
                span = slice(first, first + self.batch_size)
                images, labels = self.images.gather(there[span][self.share])
                yield self._batch(images, labels, order[span], step)
                step += 1


class StreamingBatches(Batches):
    """Images read by DataLoader workers while the device works, for data that memory cannot hold."""

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
        """Yield the batches from step ``start`` on, without end."""
        pinned = self.device.type == "cuda"
        loader = DataLoader(
            _ByBatch(self.images, self.share),
            batch_size=None,
            sampler=_Rows(self, start),
            num_workers=self.workers,
            pin_memory=pinned,
        )
        for step, (images, labels, rows) in enumerate(_told_in_a_line(loader), start):
            images = images.to(self.device, non_blocking=pinned)
            labels = labels.to(self.device, non_blocking=pinned)
            yield self._batch(images, labels, rows.cpu(), step)


def _told_in_a_line(loader: Iterable[_Read]) -> Iterator[_Read]:
    """Yield what a loader reads; the traceback in the message of a worker's error is cut off."""
    try:
        yield from loader
    except (InputError, RuntimeError) as error:  # RuntimeError: a worker that was killed
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if isinstance(error, InputError):
            raise InputError(lines[-1].partition("InputError: ")[2] or lines[-1]) from None
        raise InputError(f"data.workers: {lines[0] if lines else 'a worker died'}; give fewer") from error


class _ByBatch(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Reads a process's share of a batch per call, given the rows of all."""

    def __init__(self, images: ImageSet, share: slice) -> None:
        self.images = images
        self.share = share

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (*self.images.gather(rows[self.share]), rows)


class _Rows(Sampler[Tensor]):
    """The row numbers of every batch from a step on."""

    def __init__(self, batches: Batches, start: int) -> None:
        self.batches = batches
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches.rows(self.start)


def fits_in_memory(images: ImageSet, device: torch.device | str) -> bool:
    """Log whether a set takes at most a quarter of the device's free memory (4 GiB if unknown)."""
    device = torch.device(device)
    needed = len(images) * torch.Size(images.image_shape).numel() * images.dtype.itemsize
    free = 16 * 2**30
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    return isinstance(images, InMemory) or needed <= _SHARE * free
