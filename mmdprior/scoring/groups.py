"""Groups of dependent rows that an option names: a column, a label of the images, or a file."""

from pathlib import Path

import numpy as np
import torch

from mmdprior.data import ImageSet
from mmdprior.data.arrow import is_arrow
from mmdprior.data.codes import read_labels
from mmdprior.data.table import is_table
from mmdprior.errors import InputError
from mmdprior.metrics.group_labels import BLOCKS, GroupLabels

__all__ = ["groups_of_codes", "groups_of_images"]


def groups_of_codes(groups: str | None, path: str, limit: int | None) -> tuple[GroupLabels, str | None]:
    """Return the groups of the rows of a file of codes, and the column of the file that holds them.

    Args:
        groups: name of a column of the table, or of an array next to the codes; path of a file with one label
            per row; ``blocks``; or None.
        path: file of codes.
        limit: largest number of rows, evenly spaced; None for all.

    Raises:
        InputError: neither the file nor a file of labels has such groups.
    """
    if groups is None or groups == BLOCKS:
        return groups, None
    labels = read_labels(path, groups)
    if labels is None:
        return _thinned(_from_file(groups, f"{path} has no column or array of that name"), limit), None
    return _thinned(labels, limit), groups if is_table(path) or is_arrow(path) else None


def groups_of_images(groups: str | None, images: ImageSet, limit: int | None) -> GroupLabels:
    """Return the groups of images: the name of one of their labels, or labels from a file.

    Args:
        groups: name of a label; path of a file with one label per image; ``blocks``; or None.
        images: all images, before ``limit``.
        limit: largest number of images, evenly spaced; None for all.

    Raises:
        InputError: no such label and no such file, or a file with another number of labels.
    """
    if groups is None or groups == BLOCKS or groups in images.label_names:
        return groups
    names = ", ".join(images.label_names) or "missing"
    labels = _from_file(groups, f"the labels of the images are {names}")
    if len(labels) != len(images):
        raise InputError(
            f"--groups: {groups}: {len(labels)} labels for {len(images)} images; give one per image"
        )
    return _thinned(labels, limit)


def _from_file(path: str, otherwise: str) -> np.ndarray:
    if not Path(path).is_file():
        raise InputError(f"--groups: {path!r} received; {otherwise}, and there is no such file")
    labels = read_labels(path)
    assert labels is not None
    return np.asarray(labels)


def _thinned(labels: np.ndarray | torch.Tensor | list[str], limit: int | None) -> np.ndarray:
    """Return the labels of the rows that remain after thinning."""
    array = np.asarray(labels)
    return array if limit is None or len(array) <= limit else array[np.arange(limit) * len(array) // limit]
