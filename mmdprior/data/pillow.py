"""Decode image files with Pillow.

A separate module, imported when the first image is read, so that ``import mmdprior.data`` does not need
Pillow.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmdprior.errors import InputError, reason

__all__ = ["read_square", "to_square"]


def read_square(path: Path, size: int, channels: int, crop: int | None = None) -> Tensor:
    """Read an image file; see `to_square`.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return to_square(image, size, channels, crop)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable image ({reason(error)}); repair or remove it") from None


def to_square(image: Image.Image, size: int, channels: int, crop: int | None = None) -> Tensor:
    """Return the centre of an image as uint8 (channels, size, size).

    Args:
        image: any size and mode with a fixed range.
        size: side of the result, in pixels; the centre square is resized to it (bilinear, anti-aliased).
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square, in pixels; by default the largest that fits.
    """
    if image.mode.startswith("I;16"):
        # 65535 / 255 = 257. Pillow's own conversion clips 16-bit values at 255.
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) / 257).round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; save 8 or 16 bits")
    image = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size) if crop is None else crop
    if image.size != (side, side):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.reshape(size, size, channels).permute(2, 0, 1)
