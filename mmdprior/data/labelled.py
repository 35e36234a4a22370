"""A few labelled rows of a training set."""

import torch
from torch import Tensor

from mmdprior.data.source import ImageSet, InMemory, Subset
from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = ["labelled_rows", "labelled_subset", "labels_of"]

_CHUNK = 4096


def labelled_subset(
    images: ImageSet,
    count: int | None = None,
    fraction: float | None = None,
    *,
    stratify: bool = True,
    seed: int = 0,
) -> Subset:
    """Return the part of a training set whose labels may be used.

    Args:
        images: the training set.
        count: number of rows.
        fraction: share of the rows, in place of ``count``. All rows if both are None.
        stratify: see `labelled_rows`.
        seed: seed of the choice.

    Raises:
        InputError: the images have no labels, or more rows are requested than have a label.

    Example:
        >>> from mmdprior.data import labelled_subset, sprites
        >>> labelled = labelled_subset(sprites(images=200).train, fraction=0.1)
        >>> len(labelled), labelled.label_names[0]
        (20, 'shape')
    """
    if not images.label_names:
        raise InputError("data.labelled: the images have no labels; give data with labels, or leave it out")
    if count is not None and fraction is not None:
        raise InputError("data.labelled: count and fraction received; give one of them")
    if fraction is not None:
        count = max(1, round(fraction * len(images)))
    return Subset(images, labelled_rows(labels_of(images).cpu(), count, stratify=stratify, seed=seed))


def labels_of(images: ImageSet) -> Tensor:
    """Return the (n, k) labels of a set, without keeping its images."""
    if isinstance(images, InMemory):
        return images.labels
    if isinstance(images, Subset):
        labels = labels_of(images.parent)
        return labels[images.rows.to(labels.device)]
    return torch.cat([labels for _, labels in images.chunks(_CHUNK)])


def labelled_rows(labels: Tensor, count: int | None, *, stratify: bool = True, seed: int = 0) -> Tensor:
    """Return the sorted numbers of rows that count as labelled.

    Rows without any label are never chosen. Stratified rows are one random row from each of ``count`` parts
    of equal size of the rows in the order of their labels, the first label first. Shares of the classes of
    the first label are then those of all rows, up to one row per class.

    Args:
        labels: (n, k) labels; NaN, or negative in integer labels, where missing.
        count: number of rows; None for all with a label.
        stratify: whether to stratify.
        seed: seed of the choice.

    Raises:
        InputError: more rows are requested than have a label.

    Example:
        >>> import torch
        >>> from mmdprior.data.labelled import labelled_rows
        >>> classes = torch.arange(10).repeat_interleave(50)
        >>> classes[labelled_rows(classes[:, None], 20)].bincount().tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    rows = (~missing.all(1)).nonzero().flatten()
    if count is None:
        return rows
    if not 1 <= count <= len(rows):
        raise InputError(f"data.labelled.count: {count} received; {len(rows)} training images have labels")
    generator = stream(seed, "labelled")
    order = torch.randperm(len(rows), generator=generator)
    if not stratify:
        return rows[order[:count]].sort().values
    for column in reversed(labels[rows].unbind(1)):  # the last sort counts most
        order = order[column[order].argsort(stable=True)]
    edges = torch.arange(count + 1) * len(rows) // count
    places = edges[:-1] + (torch.rand(count, generator=generator) * edges.diff()).long()
    return rows[order[places]].sort().values
