"""Images in NumPy files."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_files import LABEL_KEYS
from mmdprior.data.pixel_range import BYTES, PixelRange, infer_range
from mmdprior.data.source import InMemory, Source
from mmdprior.errors import InputError, reason
from mmdprior.precision import to_numbers

__all__ = ["arrays", "read_array"]

_IMAGE_KEYS = ("images", "imgs")
_CHUNK = 1024
"""Images scaled at a time."""


def arrays(
    path: str,
    test_path: str | None = None,
    background: int | str | Sequence[int] | None = None,
    value_range: Sequence[int | float] | None = None,
) -> Source:
    """Open images from a ``.npz`` or ``.npy`` file, such as that of dSprites.

    Args:
        path: a ``.npy`` file of images, or a ``.npz`` file with ``images`` (or ``imgs``) and optionally
            ``factors``, ``latents_classes``, ``labels`` or ``targets``, one row per image. Images have shape
            (n, H, W), (n, H, W, C) or (n, C, H, W), with 1 to 4 channels where the two could be confused.
        test_path: a file of the same kind with the test images; by default there are none.
        background: colour over which images of 2 or 4 channels, the last of them alpha, are composited: a
            name, '#rrggbb', a grey level, or [red, green, blue] from 0 to 255. By default all channels are
            kept.
        value_range: stored values of black and white. By default they follow from both files: booleans, and
            uint8 or uint16 of 0 and 1, are black and white; other uint8 are from 0 to 255; uint16 have 8, 10,
            12, 14 or 16 bits, whichever suffices; floats are in [0, 1].

    Raises:
        InputError: a file is missing, holds pickled objects or no images, its images are not finite, or the
            range of their values is unknown.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data import arrays
        >>> np.savez("shapes.npz", images=np.zeros((50, 32, 32), np.uint8), factors=np.zeros((50, 4), int))
        >>> train = arrays("shapes.npz").train
        >>> len(train), train.image_shape, train.label_names
        (50, (1, 32, 32), ('factors_0', 'factors_1', 'factors_2', 'factors_3'))
    """
    paths = [path] if test_path is None else [path, test_path]
    files = [_read_images(file) for file in paths]
    ranges = _ranges(paths, [images for images, _, _ in files], PixelRange.of(value_range))
    sets, notes = [], []
    for images, labels, names in files:
        pixel_range = ranges[images.dtype]
        sets.append(InMemory(_to_tensor(images, pixel_range, background), labels, names, is_part=True))
        if pixel_range.white not in (255, 65535) and images.dtype.kind in "iu":
            notes.append(f"{pixel_range.white:g} is white")
    if background is None and sets[0].image_shape[0] in (2, 4):
        notes.append(f"all {sets[0].image_shape[0]} channels are kept; give background to composite alpha")
    counts = " and ".join(f"{len(part)} images in {file}" for part, file in zip(sets, paths, strict=True))
    summary = "; ".join([counts, *dict.fromkeys(notes)])
    return Source(sets[0], sets[1] if len(sets) > 1 else None, summary=summary)


def read_array(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """Read a ``.npy`` file, or the arrays of a ``.npz`` file by name, without running code from it.

    Raises:
        InputError: the file is missing, unreadable or holds pickled objects.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (EOFError, OSError, ValueError):
        raise InputError(
            f"{path}: not a plain .npy or .npz of numbers (pickled objects are never read)"
        ) from None
    except Exception as error:  # zipfile.BadZipFile and zlib.error have no narrower common base class
        raise InputError(f"{path}: damaged ({reason(error)})") from None


def _read_images(path: str) -> tuple[np.ndarray, Tensor | None, tuple[str, ...]]:
    """Return images (n, C, H, W) as they are stored, labels and label names."""
    content = read_array(path)
    if isinstance(content, np.ndarray):
        return _channels_first(path, content), None, ()
    images = next((content[key] for key in _IMAGE_KEYS if key in content), None)
    if images is None:
        raise InputError(f"{path}: arrays {sorted(content)} received; name the images 'images'")
    key = next((key for key in LABEL_KEYS if key in content), None)
    if key is None:
        return _channels_first(path, images), None, ()
    labels = to_numbers(np.atleast_1d(content[key]), f"{path}: {key}")
    labels = labels[:, None] if labels.ndim == 1 else labels
    names = tuple(f"{key}_{i}" for i in range(labels.shape[1]))
    return _channels_first(path, images), labels, names


def _channels_first(path: str, images: np.ndarray) -> np.ndarray:
    """Return images as (n, C, H, W).

    The channels are the second or the last axis, whichever has 1 or 3 entries, otherwise 2 or 4. Without
    either they are the axis that differs from two equal ones, the sides of square images. The second axis
    has precedence.
    """
    if images.dtype.kind not in "buif":
        raise InputError(f"{path}: images of type {images.dtype} received; give uint8 or floats in [0, 1]")
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.size == 0:
        raise InputError(
            f"{path}: images of shape {images.shape} received; give (n, H, W[, C]) or (n, C, H, W)"
        )
    _, first, middle, last = images.shape
    for counts in ((1, 3), (2, 4)):
        if first in counts or last in counts:
            return images if first in counts else images.transpose(0, 3, 1, 2)
    return images.transpose(0, 3, 1, 2) if first == middle != last else images


def _ranges(
    paths: Sequence[str], stored: Sequence[np.ndarray], chosen: PixelRange | None
) -> dict[np.dtype, PixelRange]:
    """Return the range of the pixels by dtype, from all files together."""
    extremes: dict[np.dtype, tuple[float, float]] = {}
    for path, images in zip(paths, stored, strict=True):
        if images.dtype.kind == "f":
            _check_finite(path, images)
        low, high = extremes.get(images.dtype, (math.inf, -math.inf))
        extremes[images.dtype] = min(low, float(images.min())), max(high, float(images.max()))
    try:
        return {dtype: infer_range(dtype, *limits, chosen) for dtype, limits in extremes.items()}
    except InputError as error:
        text = str(error)
        raise error if text.startswith("value_range") else InputError(f"{paths[0]}: {text}") from None


def _check_finite(path: str, images: np.ndarray) -> None:
    bad = ~np.isfinite(images).all(axis=(1, 2, 3))
    if bad.any():
        raise InputError(
            f"{path}: NaN or infinity in {bad.sum()} of {len(bad)} images, the first at row {bad.argmax()}; "
            "remove or repair them"
        )


def _to_tensor(
    stored: np.ndarray, pixel_range: PixelRange, background: int | str | Sequence[int] | None
) -> Tensor:
    """Return images as uint8 where they have at most 8 bits, otherwise as float32 in [0, 1]."""
    has_bytes = stored.dtype.kind in "bui" and pixel_range.black == 0 and pixel_range.white <= 255
    scale, dtype = (pixel_range.to_uint8, np.uint8) if has_bytes else (pixel_range.to_float, np.float32)
    if stored.dtype == np.uint8 and pixel_range == BYTES:
        images = torch.from_numpy(np.ascontiguousarray(stored))
    else:
        scaled = np.empty(stored.shape, dtype)
        for start in range(0, len(stored), _CHUNK):  # scaling needs float64, which all images may not fit in
            scaled[start : start + _CHUNK] = scale(stored[start : start + _CHUNK])
        images = torch.from_numpy(scaled)
    if background is None or images.shape[1] not in (2, 4):
        return images
    return _over(images, background)


def _over(images: Tensor, background: int | str | Sequence[int]) -> Tensor:
    """Return images without their last channel, alpha, composited over a colour."""
    from mmdprior.data.pillow import background_colour

    white = 255 if images.dtype == torch.uint8 else 1
    colour = torch.tensor(background_colour(background)) / 255 * white
    if images.shape[1] == 2:
        colour = colour @ torch.tensor([0.299, 0.587, 0.114])  # the grey level, ITU-R 601
    ink, alpha = images[:, :-1].float(), images[:, -1:].float() / white
    opaque = ink * alpha + colour.reshape(-1, 1, 1) * (1 - alpha)
    return opaque.round().to(torch.uint8) if white == 255 else opaque.clamp(0, 1)
