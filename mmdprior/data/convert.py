"""Data sets of others as sources: tensors, arrays, and PyTorch or Hugging Face data sets."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from mmdprior.data.source import ImageSet, InMemory, Source, sample_kind
from mmdprior.data.splits import Splits
from mmdprior.errors import InputError

__all__ = ["ItemSet", "as_source"]

_IMAGE_KEYS = ("image", "img", "images", "pixel_values", "x", "data")


class ItemSet(ImageSet):
    """Images of a data set that returns one item per index.

    Args:
        items: a data set with a length. An item is an image; a tuple of an image and labels; or a mapping
            with an image under ``image``, ``img``, ``pixel_values``, ``x`` or ``data``, whose other numbers
            are labels. An image is a PIL image, an array or a tensor: uint8, or float in [0, 1].

    Raises:
        InputError: there are no items, or the first one has no image.

    Example:
        >>> from mmdprior.data.convert import ItemSet
        >>> images = ItemSet([(torch.rand(3, 8, 8), i % 2) for i in range(10)])
        >>> len(images), images.image_shape, images.gather(torch.tensor([3]))[1].tolist()
        (10, (3, 8, 8), [[1]])
    """

    def __init__(self, items: Any) -> None:
        if not len(items):
            raise InputError("data: an empty data set received; give at least one image")
        self.items = items
        image, labels = _parts(items[0])
        self.image_shape = tuple(image.shape)
        self.dtype = image.dtype
        self.label_names = tuple(labels)

    def __len__(self) -> int:
        return len(self.items)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of some items and their labels.

        Raises:
            InputError: an item has another shape than the first, or floats outside [0, 1].
        """
        parts = [_parts(self.items[index]) for index in indices.tolist()]
        for image, _ in parts:
            if tuple(image.shape) != self.image_shape:
                raise InputError(
                    f"data: images of shapes {self.image_shape} and {tuple(image.shape)} received; give all "
                    "one shape, such as with transforms.Resize and transforms.CenterCrop"
                )
        images = torch.stack([image for image, _ in parts])
        is_float = sample_kind(self.image_shape) == "images" and images.dtype != torch.uint8
        if is_float and (float(images.min()) < 0 or float(images.max()) > 1):
            raise InputError(
                f"data: floats from {float(images.min()):.3g} to {float(images.max()):.3g} received; give "
                "images in [0, 1], without transforms.Normalize"
            )
        labels = [list(entry.values()) for _, entry in parts]
        return images, torch.tensor(labels) if self.label_names else torch.empty(len(parts), 0).long()


def as_source(data: object) -> Source | Splits:
    """Return data of any form as a source.

    Args:
        data: a `Source`, `Splits` or `ImageSet`; images as a tensor or array; a pair of images and labels; a
            ``TensorDataset``; or a data set of items, as `ItemSet` reads them.

    Raises:
        InputError: anything else.

    Example:
        >>> from mmdprior.data.convert import as_source
        >>> source = as_source((torch.rand(10, 3, 8, 8), torch.arange(10)))
        >>> source.train.image_shape, source.train.label_names
        ((3, 8, 8), ('label',))
    """
    if isinstance(data, (Source, Splits)):
        return data
    if isinstance(data, ImageSet):
        return Source(data)
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, (Tensor, np.ndarray)):
        data = (data,)
    if isinstance(data, tuple) and data and all(isinstance(part, (Tensor, np.ndarray)) for part in data):
        return Source(_in_memory(*(torch.as_tensor(part) for part in data)))
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (str, Mapping)):
        return Source(ItemSet(data))
    raise InputError(
        f"{type(data).__name__} returned; return a Source, an ImageSet, a tensor of images or a data set"
    )


def _in_memory(images: Tensor, *labels: Tensor) -> InMemory:
    if not labels:
        return InMemory(images)
    columns = torch.cat([part[:, None] if part.ndim == 1 else part for part in labels], 1)
    return InMemory(images, columns, ("label",) if columns.shape[1] == 1 else ())


def _parts(item: Any) -> tuple[Tensor, dict[str, float | int]]:
    """Return the image of an item, and its labels by name."""
    if isinstance(item, Mapping):
        key = next((key for key in _IMAGE_KEYS if key in item), None)
        if key is None:
            names = ", ".join(map(str, item))
            raise InputError(f"data: items with {names} received; give the image the key image")
        numbers = {str(name): _number(value) for name, value in item.items() if name != key}
        return _image(item[key]), {name: value for name, value in numbers.items() if value is not None}
    if not isinstance(item, (tuple, list)):
        return _image(item), {}
    image, *labels = item
    flat = [value for label in labels for value in np.atleast_1d(np.asarray(label)).ravel()]
    keys = ["label"] if len(flat) == 1 else [f"label_{index}" for index in range(len(flat))]
    return _image(image), {key: value.item() for key, value in zip(keys, flat, strict=True)}


def _number(value: Any) -> float | int | None:
    """Return a label; None for a value that is not a number."""
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, (float, np.floating)) else None


def _image(value: Any) -> Tensor:
    """Return an image (C, H, W), a signal (C, T) or a vector as a tensor."""
    if hasattr(value, "getbands"):  # a PIL image
        mode = "L" if value.mode in ("1", "L", "I;16") else "RGB"
        value = np.array(value.convert(mode))
        value = value[None] if mode == "L" else value.transpose(2, 0, 1).copy()
    if not isinstance(value, (Tensor, np.ndarray)):
        raise InputError(
            f"data: {type(value).__name__} received; give images as tensors, arrays or PIL images"
        )
    image = torch.as_tensor(value)
    is_array = isinstance(value, np.ndarray) and image.ndim == 3
    if is_array and image.shape[2] in (1, 3) and image.shape[0] not in (1, 3):  # height, width, channels
        image = image.permute(2, 0, 1)
    return image if image.dtype == torch.uint8 else image.float()
