"""Training, validation and test splits of a data source."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdprior.data.pixel_checks import check_pixels
from mmdprior.data.source import Concatenated, ImageSet, SampleKind, Source, Subset, sample_kind
from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = ["Splits", "make_splits", "whole_set"]


@dataclass(frozen=True)
class Splits:
    """Three sets of images without a common row.

    Attributes:
        train: images to train on.
        validation: images scored during training, for early stopping and the choice of the best checkpoint.
        test: images that the reported scores are computed on.
        summary: what was read, as in `Source`.
        value_ranges: stored values of black and white, as in `Source`.

    Example:
        >>> from mmdprior.data import Splits, sprites
        >>> train, validation, test = (sprites(images=50, seed=seed).train for seed in range(3))
        >>> len(Splits(train, validation, test).validation)
        50
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    summary: str = ""
    value_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of training, validation and test images."""
        return len(self.train), len(self.validation), len(self.test)


def make_splits(
    source: Source,
    *,
    validation: int | float = 0.1,
    test: int | float = 0.1,
    limit: int | None = None,
    seed: int = 0,
) -> Splits:
    """Split a source into training, validation and test images; a function of the seed.

    A sample of the images is read, to check them against the contract of `ImageSet` and to warn about dark or
    nearly constant images.

    Args:
        source: a source. Its own test and validation images, if it has any, become these splits unchanged.
        validation: number of images to hold out, or their fraction of the source's training images; not used
            for a source with its own validation images.
        test: number or fraction of images to hold out; not used for a source with its own test images.
        limit: number of training images to keep; by default all.
        seed: seed of the permutation.

    Raises:
        InputError: a held-out split or the training split would be empty, the source's own splits differ in
            the shape of their images, or images break the contract.

    Example:
        >>> from mmdprior.data import make_splits, sprites
        >>> splits = make_splits(sprites(images=100), validation=20, test=0.1, seed=1)
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (70, 20, 10)
    """
    for name, images in (("test", source.test), ("validation", source.validation)):
        if images is not None and tuple(images.image_shape) != tuple(source.train.image_shape):
            raise InputError(
                f"data: {name} images of shape {tuple(images.image_shape)} and training images of shape "
                f"{tuple(source.train.image_shape)} received; give both one shape"
            )
    own = [images for images in (source.train, source.validation, source.test) if images is not None]
    check_pixels(Concatenated(own))
    n = len(source.train)
    order = torch.randperm(n, generator=stream(seed, "split"))
    kind = sample_kind(source.train.image_shape)
    n_validation = 0 if source.validation is not None else _held_out("data.validation", validation, n, kind)
    n_test = 0 if source.test is not None else _held_out("data.test", test, n, kind)
    n_train = n - n_validation - n_test
    if n_train < 1:
        raise InputError(f"data.validation: {n} {kind} leave none to train on; hold out fewer")
    if limit is not None and not 1 <= limit <= n_train:
        raise InputError(f"data.limit: {limit} received; there are {n_train} training {kind}")

    def subset(rows: Tensor) -> Subset:
        # Sorted, so that images are read in the order in which they are stored.
        return Subset(source.train, rows.sort().values)

    return Splits(
        train=subset(order[n_validation + n_test :][:limit]),
        validation=subset(order[:n_validation]) if source.validation is None else source.validation,
        test=subset(order[n_validation:][:n_test]) if source.test is None else source.test,
        summary=source.summary,
        value_ranges=source.value_ranges,
    )


def whole_set(images: ImageSet) -> ImageSet:
    """Return the set that a split was taken from; other sets unchanged.

    Example:
        >>> from mmdprior.data import make_splits, sprites
        >>> from mmdprior.data.splits import whole_set
        >>> splits = make_splits(sprites(images=100))
        >>> len(splits.test), len(whole_set(splits.test))
        (10, 100)
    """
    while isinstance(images, Subset):
        images = images.parent
    return images


def _held_out(name: str, size: int | float, n: int, kind: SampleKind) -> int:
    """Return the size of a held-out split of n samples of a kind."""
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not math.isfinite(size):
        raise InputError(f"{name}: {size!r} received; give a number of {kind} or a fraction of them")
    count = size if isinstance(size, int) else round(size * n)
    if not 1 <= count < n:
        raise InputError(f"{name}: {size} received; hold out at least 1 of the {n} {kind}, but not all")
    return count
