"""Decode image files with Pillow.

A separate module, imported when the first image is read, so that ``import mmdprior.data`` does not need
Pillow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from mmdprior.data.pixel_range import BYTES, PixelRange
from mmdprior.errors import InputError, reason

__all__ = [
    "SIXTEEN_BITS",
    "WHITE",
    "Colour",
    "Decoder",
    "background_colour",
    "is_transparent",
    "open_image",
    "readable_suffixes",
    "to_square",
]

Colour = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

WHITE: Colour = (255, 255, 255)

_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")

_ORIENTATION = 0x0112
"""The EXIF tag of the orientation."""

SIXTEEN_BITS = PixelRange(0.0, 65535.0)
"""The range of files of 16 bits that use all of them."""

_SUFFIXES = (
    *(".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff"),
)
_SUFFIXES_OF_FEATURES = {"avif": (".avif",), "jpg_2000": (".j2k", ".jp2"), "webp": (".webp",)}
"""Optional feature of Pillow -> suffixes of its files."""


def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of image files that this Pillow reads, in lower case."""
    optional = (names for feature, names in _SUFFIXES_OF_FEATURES.items() if features.check(feature))
    return frozenset(_SUFFIXES).union(*optional)


def background_colour(background: int | str | Sequence[int]) -> Colour:
    """Return a colour from a grey level, a name, ``#rrggbb`` or three numbers from 0 to 255.

    Raises:
        InputError: not a colour.
    """
    try:
        if isinstance(background, str):
            red, green, blue = ImageColor.getrgb(background)[:3]
        else:
            levels = [background] * 3 if isinstance(background, int) else list(background)
            red, green, blue = (int(level) for level in levels)
    except (TypeError, ValueError):
        red, green, blue = -1, -1, -1
    if not all(0 <= level <= 255 for level in (red, green, blue)):
        raise InputError(
            f"background: {background!r} received; give a colour: a name, '#rrggbb', or [red, green, blue] "
            "from 0 to 255"
        )
    return red, green, blue


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; any error while it is open becomes one line that names the file.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        # Opened here, because Pillow 13 memory-maps files that it opens and then misreads turned TIFFs.
        with path.open("rb") as file, Image.open(file) as image:
            yield image
    except MemoryError:
        raise
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # Pillow raises many types for bad files
        detail = "unknown format" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise InputError(f"{path}: not a readable image ({detail}); repair or remove it") from None


@dataclass(frozen=True)
class Decoder:
    """From image files to tensors of one shape.

    Attributes:
        size: side of the square images, in pixels.
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square cut out before resizing; None for the largest that fits.
        background: colour behind transparent pixels.
        eight_bits: stored values of black and white in files of 8 bits.
        sixteen_bits: stored values of black and white in files of 16 bits.
        others: stored values of black and white in files of 32 bits; None refuses them, since they have no
            range of their own.
    """

    size: int
    channels: int
    crop: int | None = None
    background: Colour = WHITE
    eight_bits: PixelRange = BYTES
    sixteen_bits: PixelRange = SIXTEEN_BITS
    others: PixelRange | None = None

    def read(self, path: Path) -> Tensor:
        """Return the first frame of a file as uint8 (channels, size, size).

        Raises:
            InputError: the file is missing or not an image, or its pixels are outside the range.
        """
        with open_image(path) as image:
            return self.decode(image)

    def decode(self, image: Image.Image) -> Tensor:
        """Return an image as uint8 (channels, size, size)."""
        opaque = _over(self._eight_bits(_upright(image)), self.background)
        return to_square(opaque, self.size, self.channels, self.crop)

    def _eight_bits(self, image: Image.Image) -> Image.Image:
        """Return an image of 8 bits per channel, with the range of the data set scaled to 0 to 255."""
        if image.mode.startswith("I;16"):
            return _scaled(image, self.sixteen_bits)
        if image.mode in ("I", "F"):
            # Pillow scales portable grey maps of more than 8 bits to 16.
            pixel_range = SIXTEEN_BITS if image.format == "PPM" else self.others
            if pixel_range is None:
                raise InputError("pixels of 32 bits have no fixed range; give value_range: [BLACK, WHITE]")
            return _scaled(image, pixel_range)
        if self.eight_bits == BYTES or image.mode not in ("L", "LA", "RGB", "RGBA"):
            return image
        return _scaled(image, self.eight_bits)


def to_square(image: Image.Image, size: int, channels: int, crop: int | None = None) -> Tensor:
    """Return the centre of an opaque image of 8 bits as uint8 (channels, size, size).

    Args:
        image: any size.
        size: side of the result, in pixels; the centre square is resized to it (bilinear, anti-aliased).
        channels: 3 for RGB, 1 for grey.
        crop: side of the centre square, in pixels; by default the largest that fits.

    Raises:
        InputError: the image is smaller than ``crop``.
    """
    image = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size) if crop is None else crop
    if side > min(image.size):
        raise InputError(f"crop {crop} received; the image has {image.height} x {image.width} pixels")
    if image.size != (side, side):
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.reshape(size, size, channels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """Return an image rotated according to its EXIF orientation; damaged EXIF data are ignored."""
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises many types for bad EXIF data
        return image
    if orientation in (None, 1):
        return image
    turned = ImageOps.exif_transpose(image)
    turned.format = image.format
    return turned


def _over(image: Image.Image, background: Colour) -> Image.Image:
    """Return an image composited over a colour; an opaque image is returned unchanged."""
    if not is_transparent(image):
        return image
    ink = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", ink.size, (*background, 255)), ink)


def is_transparent(image: Image.Image) -> bool:
    """Return whether an image has an alpha channel, a transparent colour or a palette with transparency."""
    in_palette = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    return in_palette or image.mode in _ALPHA_MODES or "transparency" in image.info


def _scaled(image: Image.Image, pixel_range: PixelRange) -> Image.Image:
    """Return an image of 8 bits per channel, with its transparency."""
    stored = np.atleast_3d(np.asarray(image))
    alpha = None
    if image.mode in _ALPHA_MODES:
        stored, alpha = stored[..., :-1], stored[..., -1]
    elif "transparency" in image.info:  # the stored value of transparent pixels
        alpha = 255 * (stored != image.info["transparency"]).any(2)
    pixels = pixel_range.to_uint8(stored)
    scaled = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    if alpha is not None:
        scaled.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return scaled
