"""Training batches: from a tensor on the training device, or streamed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mmdprior.data.source import ImageSet, InMemory, load_into_memory
from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = ["Batch", "Batches", "ResidentBatches", "StreamingBatches", "fits", "to_float"]

_SHARE = 0.25
"""Share of a device's memory that resident images may take."""


@dataclass(frozen=True)
class Batch:
    """One training batch on the training device.

    Attributes:
        images: float in [0, 1].
        labels: (n, k).
        indices: rows of the training set, on the CPU.
    """

    images: Float[Tensor, "n c h w"]
    labels: Tensor
    indices: Tensor


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


class Batches(ABC):
    """An endless sequence of batches, a function of the seed: any step can be entered directly.

    Every epoch is a new permutation; its last, incomplete batch is left out.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= len(images):
            raise InputError(
                f"data.batch_size: {batch_size} received; there are {len(images)} training images"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = len(images) // batch_size

    def rows(self, start: int) -> Iterator[Tensor]:
        """Yield the row numbers of every batch from step ``start`` on."""
        epoch, position = divmod(start, self.steps_per_epoch)
        while True:
            order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
            for step in range(position, self.steps_per_epoch):
                yield order[step * self.batch_size : (step + 1) * self.batch_size]
            epoch, position = epoch + 1, 0

    @abstractmethod
    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, without end."""


class ResidentBatches(Batches):
    """All images in one tensor on the training device, indexed there."""

    def __init__(
        self, images: ImageSet, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(load_into_memory(images).to(device), batch_size, seed)

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, without end."""
        for rows in self.rows(start):
            images, labels = self.images.gather(rows)
            yield Batch(to_float(images), labels, rows)


class StreamingBatches(Batches):
    """Images read by DataLoader workers while the device works, for data that memory cannot hold."""

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ) -> None:
        super().__init__(images, batch_size, seed)
        self.device = torch.device(device)
        self.workers = workers

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from step ``start`` on, without end."""
        pinned = self.device.type == "cuda"
        loader = DataLoader(
            _ByBatch(self.images),
            batch_size=None,
            sampler=_Rows(self, start),
            num_workers=self.workers,
            pin_memory=pinned,
        )
        for images, labels, rows in loader:
            images = images.to(self.device, non_blocking=pinned)
            yield Batch(to_float(images), labels.to(self.device, non_blocking=pinned), rows.cpu())


class _ByBatch(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Reads a whole batch per call, given its rows."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (*self.images.gather(rows), rows)


class _Rows(Sampler[Tensor]):
    """The row numbers of every batch from a step on."""

    def __init__(self, batches: Batches, start: int) -> None:
        self.batches = batches
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches.rows(self.start)


def fits(images: ImageSet, device: torch.device | str) -> bool:
    """Tell whether a set takes at most a quarter of the device's free memory (4 GiB if unknown)."""
    device = torch.device(device)
    needed = len(images) * torch.Size(images.image_shape).numel() * images.dtype.itemsize
    free = 16 * 2**30
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    return isinstance(images, InMemory) or needed <= _SHARE * free
