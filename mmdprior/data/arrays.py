"""Images in NumPy files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.source import InMemory, Source
from mmdprior.errors import InputError, reason
from mmdprior.precision import to_numbers

__all__ = ["arrays", "read_array"]

_IMAGE_KEYS = ("images", "imgs")
_LABEL_KEYS = ("factors", "latents_classes", "labels", "targets")


def arrays(path: str, test_path: str | None = None) -> Source:
    """Open images from a ``.npz`` or ``.npy`` file, such as that of dSprites.

    Args:
        path: a ``.npy`` file of images, or a ``.npz`` file with ``images`` (or ``imgs``) and optionally
            ``factors``, ``latents_classes``, ``labels`` or ``targets``, one row per image. Images have shape
            (n, H, W), (n, H, W, C) or (n, C, H, W); they are uint8, or floats in [0, 1].
        test_path: a file of the same kind with the test images; by default there are none.

    Raises:
        InputError: a file is missing, holds pickled objects or no images, or its images are not finite or
            not in [0, 1].

    Example:
        >>> import numpy as np
        >>> from mmdprior.data import arrays
        >>> np.savez("shapes.npz", images=np.zeros((50, 32, 32), np.uint8), factors=np.zeros((50, 4), int))
        >>> train = arrays("shapes.npz").train
        >>> len(train), train.image_shape, train.label_names
        (50, (1, 32, 32), ('factors_0', 'factors_1', 'factors_2', 'factors_3'))
    """
    return Source(_read_images(path), None if test_path is None else _read_images(test_path))


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


def _read_images(path: str) -> InMemory:
    content = read_array(path)
    if isinstance(content, np.ndarray):
        return InMemory(_to_images(path, content))
    images = next((content[key] for key in _IMAGE_KEYS if key in content), None)
    if images is None:
        raise InputError(f"{path}: arrays {sorted(content)} received; name the images 'images'")
    key = next((key for key in _LABEL_KEYS if key in content), None)
    if key is None:
        return InMemory(_to_images(path, images))
    labels = to_numbers(np.atleast_1d(content[key]), f"{path}: {key}")
    labels = labels[:, None] if labels.ndim == 1 else labels
    names = tuple(f"{key}_{i}" for i in range(labels.shape[1]))
    return InMemory(_to_images(path, images), labels, names)


def _to_images(path: str, images: np.ndarray) -> Tensor:
    """Return images as (n, C, H, W), uint8 or float32."""
    if images.dtype.kind not in "uf":
        raise InputError(f"{path}: images of type {images.dtype} received; give uint8 or floats in [0, 1]")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise InputError(
            f"{path}: images of shape {images.shape} received; give (n, H, W[, C]) or (n, C, H, W)"
        )
    # Channels last, unless the second axis can be the channels as well.
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.ascontiguousarray(images, dtype=dtype))
