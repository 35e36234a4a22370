"""The contract of a data source, as a check."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, islice
from typing import Any

import torch
from torch import Tensor

from mmdprior.data import ImageSet, Source, Subset, thin
from mmdprior.data.pixel_checks import check_pixels
from mmdprior.data.source import sample_kind
from mmdprior.errors import InputError, reason
from mmdprior.seeding import stream

__all__ = ["check_source"]

_DTYPES = (torch.uint8, torch.float32)
_ROWS = 24
"""Rows used for the checks that read images several times."""

_THREADS = 4
_MAX_OVERLAP = 0.1
"""Share of test images that may equal a training image: data sets hold a few duplicates."""


def check_source(source: Source | ImageSet, *, limit: int = 512) -> None:
    """Check that a source satisfies the contracts of `Source` and `ImageSet`.

    It checks, for the images, signals or vectors of each split: ``image_shape``, dtype and range; that
    labels and ``label_names`` agree; that `ImageSet.gather` is repeatable, follows the order of the indices,
    agrees with ``chunks`` and with indexing, and works from several threads; that the set can be pickled for
    worker processes; and that the splits have images of one shape and no common rows.

    Args:
        source: a source, or only its training images.
        limit: largest number of images to read per set, evenly spaced.

    Raises:
        InputError: the first violation, in one line that names the set and what to change.

    Example:
        >>> import torch
        >>> from mmdprior.data import InMemory, Source
        >>> from mmdprior.testing import check_source
        >>> images = InMemory(torch.rand(50, 1, 8, 8), torch.arange(50)[:, None], ("class",))
        >>> check_source(images)
        >>> check_source(Source(train=images, test=images))
        Traceback (most recent call last):
        mmdprior.errors.InputError: test: the same object as train; give images that are not in train
    """
    if isinstance(source, ImageSet):
        source = Source(source)
    if not isinstance(source, Source):
        raise InputError(f"source: {type(source).__name__} received; give a Source or an ImageSet")
    splits = {"train": source.train, "test": source.test, "validation": source.validation}
    sets = {name: images for name, images in splits.items() if images is not None}
    for name, images in sets.items():
        try:
            _check_attributes(name, images)
            _check_content(name, images, limit)
            _check_range(name, images)
            _check_gather(name, images)
            _check_workers(name, images)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name}: {type(error).__name__} raised ({reason(error)})") from error
    for one, other in combinations(sets, 2):
        _check_disjoint(one, sets[one], other, sets[other], limit)


def _check_attributes(name: str, images: ImageSet) -> None:
    if not isinstance(images, ImageSet):
        raise InputError(f"{name}: {type(images).__name__} received; give an ImageSet")
    if len(images) < 1:
        raise InputError(f"{name}: no images; give at least 1")
    shape = getattr(images, "image_shape", None)
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3 or any(side < 1 for side in shape):
        raise InputError(
            f"{name}: image_shape is {shape}; set (channels, height, width), (channels, length) of signals "
            "or (features,) of vectors"
        )
    if len(shape) < 3 and images.dtype != torch.float32:
        raise InputError(
            f"{name}: image_shape is {shape} and dtype {images.dtype}; set (channels, height, width) for "
            f"images, or dtype float32 for {sample_kind(shape)}"
        )
    if images.dtype not in _DTYPES:
        raise InputError(f"{name}: dtype is {images.dtype}; give uint8, or float32 in [0, 1]")
    names = images.label_names
    if not isinstance(names, tuple) or not all(isinstance(label, str) for label in names):
        raise InputError(f"{name}: label_names is {names!r}; set a tuple of strings")
    if len(set(names)) < len(names):
        raise InputError(f"{name}: label_names {names} repeat a name; give each column its own")


def _check_content(name: str, images: ImageSet, limit: int) -> None:
    """Check shape, dtype and range of up to ``limit`` images, and their labels."""
    first = 0
    for x, labels in thin(images, limit).chunks(_ROWS):
        rows = min(_ROWS, min(limit, len(images)) - first)
        _check_batch(name, images, x, labels, rows)
        first += rows


def _check_batch(name: str, images: ImageSet, x: Any, labels: Any, rows: int) -> None:
    if not isinstance(x, Tensor) or not isinstance(labels, Tensor):
        raise InputError(
            f"{name}: gather returned {type(x).__name__} and {type(labels).__name__}; return two tensors"
        )
    if x.shape != (rows, *images.image_shape):
        raise InputError(
            f"{name}: images of shape {tuple(x.shape)} returned for {rows} indices; return "
            f"{(rows, *images.image_shape)}, the shape in image_shape"
        )
    if x.dtype != images.dtype:
        raise InputError(f"{name}: images of {x.dtype} returned; dtype is {images.dtype}; make them agree")
    if x.ndim != 4 and not bool(torch.isfinite(x).all()):
        raise InputError(
            f"{name}: NaN or infinity in {sample_kind(images.image_shape)}; remove or repair them"
        )
    if x.ndim == 4 and x.is_floating_point() and not bool(((x >= 0) & (x <= 1)).all()):
        raise InputError(
            f"{name}: images from {float(x.min()):g} to {float(x.max()):g}; scale them to [0, 1]"
        )
    if labels.shape != (rows, len(images.label_names)):
        raise InputError(
            f"{name}: labels of shape {tuple(labels.shape)} returned for {rows} indices; return "
            f"{(rows, len(images.label_names))}, one column per label name"
        )
    known = images.factors.kinds if images.factors is not None else {}
    others = [i for i, label in enumerate(images.label_names) if label not in known]
    if labels.is_complex() or bool(labels.isinf().any() | labels[:, others].isnan().any()):
        raise InputError(
            f"{name}: labels are not finite real numbers; give one number per label (only factors may be NaN)"
        )
    for label in known:
        if label not in images.label_names:
            raise InputError(f"{name}: factors names {label!r}; give only names in label_names")


def _check_range(name: str, images: ImageSet) -> None:
    """Check the range of uint8 images; warn about dark and nearly constant images."""
    try:
        check_pixels(images)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _check_gather(name: str, images: ImageSet) -> None:
    """Check that gather is a function of the indices, row by row."""
    rows = torch.arange(min(_ROWS, len(images)))
    expected = images.gather(rows)
    _require_same(
        images.gather(rows),
        expected,
        f"{name}: two calls of gather differ; move random changes to Augmentation",
    )
    order = torch.randperm(len(rows), generator=stream(0, "check_source"))
    _require_same(
        images.gather(rows[order]),
        (expected[0][order], expected[1][order]),
        f"{name}: gather does not return rows in the order of the indices; keep their order",
    )
    _require_same(
        images.gather(rows[:1].repeat(3)),
        (expected[0][:1].expand(3, *images.image_shape), expected[1][:1].repeat(3, 1)),
        f"{name}: gather does not repeat a row for a repeated index; return one row per index",
    )
    image, labels = images[int(rows[-1])]
    _require_same(
        (image, labels),
        (expected[0][-1], expected[1][-1]),
        f"{name}: indexing and gather differ; let __getitem__ use gather",
    )
    last = torch.tensor([len(images) - 1])
    _require_same(
        images[len(images) - 1],
        tuple(part[0] for part in images.gather(last)),
        f"{name}: indexing and gather differ in the last row; let __getitem__ use gather",
    )
    chunks = list(islice(images.chunks(5), -(-len(rows) // 5)))
    _require_same(
        tuple(torch.cat(parts)[: len(rows)] for parts in zip(*chunks, strict=True)),
        expected,
        f"{name}: chunks and gather differ; yield the rows of gather in order",
    )


def _check_workers(name: str, images: ImageSet) -> None:
    """Check that threads may read at the same time, and that worker processes get a working copy."""
    rows = torch.arange(min(_ROWS, len(images)))
    expected = images.gather(rows)
    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(images.gather, [rows] * (2 * _THREADS)))
    for result in results:
        _require_same(result, expected, f"{name}: gather differs between threads; share no open file")
    subset = Subset(images, rows)
    try:
        copy = pickle.loads(pickle.dumps(subset))
    except Exception as error:
        raise InputError(
            f"{name}: not picklable, which worker processes need ({reason(error)}); open files in gather, "
            "and define the class at the top of a module"
        ) from error
    _require_same(copy.gather(rows), expected, f"{name}: its pickled copy returns other images")


def _check_disjoint(one: str, train: ImageSet, other: str, test: ImageSet, limit: int) -> None:
    """Check that two splits have one shape and share no rows."""
    if train is test:
        raise InputError(f"{other}: the same object as {one}; give images that are not in {one}")
    if train.image_shape != test.image_shape:
        raise InputError(
            f"{other}: image_shape {test.image_shape}, but {one} has {train.image_shape}; give both one shape"
        )
    if isinstance(train, Subset) and isinstance(test, Subset) and train.parent is test.parent:
        common = set(train.rows.tolist()) & set(test.rows.tolist())
        if common:
            raise InputError(f"{other}: {len(common)} rows are also in {one}; give disjoint rows")
    known = {image.numpy().tobytes() for x, _ in thin(train, limit).chunks() for image in x.cpu()}
    repeated = [image.numpy().tobytes() in known for x, _ in thin(test, limit).chunks() for image in x.cpu()]
    if sum(repeated) > _MAX_OVERLAP * len(repeated):
        raise InputError(
            f"{other}: {sum(repeated)} of {len(repeated)} images read are also in {one}; give other images"
        )


def _require_same(result: tuple[Tensor, ...], expected: tuple[Tensor, ...], message: str) -> None:
    if not all(_equal(a, b) for a, b in zip(result, expected, strict=True)):
        raise InputError(message)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal, where NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
