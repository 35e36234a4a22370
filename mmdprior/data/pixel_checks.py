"""Checks of the images that a source returns: errors for broken contracts, warnings for doubtful images."""

import math
import warnings

import torch
from torch import Tensor

from mmdprior.data.source import ImageSet, sample_kind, thin, to_float
from mmdprior.errors import InputError, InputWarning

__all__ = ["check_pixels"]

_IMAGES = 64
"""Largest number of images that are read."""
_VALUES = 1 << 22
"""Largest number of pixel values that are read, unless two images have more."""

_DARK = 0.25
"""Largest value below which images are reported as dark."""
_CONSTANT = 1 / 255
"""Root mean square distance to the mean image below which images are reported as nearly constant."""


def check_pixels(images: ImageSet) -> None:
    """Check shape, dtype and range of a sample of images; warn if they are dark or nearly constant.

    Vectors and signals have no limits; they are float32 and finite.

    Args:
        images: the set; uint8 from 0 to 255, or float32 in [0, 1].

    Raises:
        InputError: another shape or dtype, floats outside [0, 1], uint8 images with no value above 1, or
            vectors or signals that are not finite.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory
        >>> from mmdprior.data.pixel_checks import check_pixels
        >>> check_pixels(InMemory(torch.rand(100, 1, 8, 8)))
    """
    count = max(2, min(_IMAGES, _VALUES // math.prod(images.image_shape)))
    sample = thin(images, count)
    batch, _ = sample.gather(torch.arange(len(sample)))
    if batch.shape != (len(sample), *images.image_shape):
        raise InputError(
            f"images of shape {tuple(batch.shape)} received for {len(sample)} indices; return "
            f"{(len(sample), *images.image_shape)}, the shape in image_shape"
        )
    kind = sample_kind(images.image_shape)
    if kind != "images":
        if batch.dtype != torch.float32:
            raise InputError(f"{kind} of {batch.dtype} received; return float32")
        if not bool(torch.isfinite(batch).all()):
            raise InputError(f"{kind} with NaN or infinity received; remove or repair them")
        return
    if batch.dtype not in (torch.uint8, torch.float32):
        raise InputError(f"images of {batch.dtype} received; return uint8, or float32 in [0, 1]")
    if batch.dtype == torch.uint8:
        _check_bytes(images, batch)
    x = to_float(batch).double()
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # also for NaN
        raise InputError(f"images with values from {low:g} to {high:g} received; scale them to [0, 1]")
    if 0 < high < _DARK:
        _warn(f"the images are dark: their largest value is {high:.1g} of 1; scale them to [0, 1]")
    distance = float((x - x.mean(0)).square().mean().sqrt())
    if distance < _CONSTANT and len(x) > 1:
        psnr = f"{-20 * math.log10(distance):.0f} dB" if distance > 0 else "infinite"
        _warn(
            f"the images are nearly constant: their distance to the mean image is {distance:.1g} of 1, and "
            f"its PSNR is {psnr}"
        )


def _check_bytes(images: ImageSet, batch: Tensor) -> None:
    """Raise `InputError` if no uint8 image of the whole set has a value above 1."""
    if int(batch.max()) == 1 and all(int(chunk.max()) <= 1 for chunk, _ in images.chunks()):
        raise InputError(
            "uint8 images with no value above 1 received, where 255 is white; return 255 * images, or "
            "float32 images in [0, 1]"
        )


def _warn(text: str) -> None:
    # The default level, so that a command prints a text once, wherever the check is called.
    warnings.warn(f"data: {text}", InputWarning, stacklevel=1)
