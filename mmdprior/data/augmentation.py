"""Random flips and shifts of a whole batch, on the training device."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from mmdprior.errors import InputError

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Random horizontal flips, and shifts by whole pixels with reflected edges.

    A shift equals a crop from the image padded by reflection.

    Attributes:
        flip: whether to flip each image with probability 1/2.
        shift: largest shift along each axis, in pixels; 0 for no shift.

    Raises:
        InputError: the shift is negative.

    Example:
        >>> import torch
        >>> from mmdprior.data import Augmentation
        >>> augmentation = Augmentation(flip=True, shift=4)
        >>> images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
        >>> augmentation(images, 16, slice(0, 16), torch.Generator()).shape
        torch.Size([16, 3, 32, 32])
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise InputError(f"shift: {self.shift} received; give pixels >= 0")

    def __bool__(self) -> bool:
        """Return whether images are changed at all."""
        return self.flip or self.shift > 0

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raise `InputError` if the shift is as large as an image, or there is no image to flip or shift."""
        if len(image_shape) != 3:
            if self:
                key = "flip: true" if self.flip else f"shift: {self.shift}"
                raise InputError(f"{key} received; only images are flipped or shifted, leave it out")
            return
        height, width = image_shape[1:]
        if self.shift >= min(height, width):
            raise InputError(f"shift: {self.shift} received; shift images of {height} x {width} by less")

    def __call__(
        self, images: Shaped[Tensor, "n c h w"], batch_size: int, rows: slice, generator: torch.Generator
    ) -> Shaped[Tensor, "n c h w"]:
        """Return augmented images.

        The random numbers are drawn for the whole batch and then sliced, so that they do not depend on the
        number of processes.

        Args:
            images: rows of a batch, of any dtype.
            batch_size: images in the whole batch.
            rows: which rows of the batch ``images`` are.
            generator: generator on the device of the images.
        """
        height, width = images.shape[2:]
        device = images.device
        shift = torch.randint(
            -self.shift, self.shift + 1, (batch_size, 2), generator=generator, device=device
        )
        flip = torch.rand(batch_size, generator=generator, device=device) < 0.5
        down, right = shift[rows].unbind(1)
        # Row and column of the original image that each output row and column shows, per image.
        from_row = _reflect(torch.arange(height, device=device) + down[:, None], height)
        from_column = _reflect(torch.arange(width, device=device) + right[:, None], width)
        if self.flip:
            from_column = torch.where(flip[rows][:, None], width - 1 - from_column, from_column)
        # One gather over flattened pixels for all images and channels.
        pixels = (width * from_row[:, :, None] + from_column[:, None, :]).flatten(1)[:, None]
        return images.flatten(2).gather(2, pixels.expand(-1, images.shape[1], -1)).view_as(images)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Return indices from -size + 1 to 2 size - 2 reflected into 0 to size - 1 at the edge pixels."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
