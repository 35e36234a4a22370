"""Random flips and shifts, made on the device that trains, for a whole batch at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from mmdprior.errors import InputError

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """A horizontal flip of every other image, and a shift by whole pixels with reflected edges.

    Shifting is what cropping from an image padded by reflection does.

    Attributes:
        flip: flip each image with probability one half.
        shift: largest shift in pixels, along either axis; 0 shifts nothing.

    Raises:
        InputError: a negative shift.
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise InputError(f"shift: {self.shift} received; give pixels >= 0")

    def __bool__(self) -> bool:
        """Log whether anything is changed."""
        return self.flip or self.shift > 0

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise `InputError` for a shift as large as an image."""
        height, width = image_shape[1:]
        if self.shift >= min(height, width):
            raise InputError(f"shift: {self.shift} received; shift images of {height} x {width} by less")

    def __call__(
        self, images: Shaped[Tensor, "n c h w"], total: int, share: slice, generator: torch.Generator
    ) -> Shaped[Tensor, "n c h w"]:
        """Return changed images.

        Args:
            images: rows ``share`` of a batch, of any dtype.
            total: images in the whole batch, for which the random numbers are drawn.
            share: which rows of it these are.
            generator: on the device of the images.
        """
        height, width = images.shape[2:]
        device = images.device
        shift = torch.randint(-self.shift, self.shift + 1, (total, 2), generator=generator, device=device)
        flip = torch.rand(total, generator=generator, device=device) < 0.5
        down, right = shift[share].unbind(1)
        rows = _reflected(torch.arange(height, device=device) + down[:, None], height)
        columns = _reflected(torch.arange(width, device=device) + right[:, None], width)
        if self.flip:
            columns = torch.where(flip[share][:, None], width - 1 - columns, columns)
        index = (width * rows[:, :, None] + columns[:, None, :]).flatten(1)[:, None]
        return images.flatten(2).gather(2, index.expand(-1, images.shape[1], -1)).view_as(images)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Bring indices from -size + 1 to 2 size - 2 back into 0 to size - 1, mirrored at the edge pixels."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
