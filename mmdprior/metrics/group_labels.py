"""Groups of rows from what users give: labels of any type, or blocks of rows in time order."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.grouping import Blocks, Grouping, Groups

__all__ = ["BLOCKS", "GroupLabels", "make_grouping"]

BLOCKS = "blocks"
"""Value of ``groups`` for rows in time order."""

GroupLabels = Any
"""n labels: a tensor, an array, a list or a pandas Series, of numbers or text; or ``"blocks"``; or None."""


def make_grouping(groups: GroupLabels, block_length: int | None, z: Tensor) -> Grouping:
    """Return which rows of codes depend on one another.

    Args:
        groups: one label per row, ``"blocks"`` for rows in time order, or None for independent rows.
        block_length: rows per block; None estimates it.
        z: (n, d) codes.

    Raises:
        InputError: not one label per row, labels that are missing, or a block length without blocks.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.group_labels import make_grouping
        >>> z = torch.randn(6, 2)
        >>> make_grouping(["ann", "bob", "ann", "eve", "eve", "eve"], None, z).sizes
        tensor([2, 1, 3])
        >>> make_grouping(None, None, z).count
        6
    """
    if isinstance(groups, str) and groups == BLOCKS:
        return Blocks(z, block_length)
    if block_length is not None:
        raise InputError(f"block_length: {block_length} received; it needs groups={BLOCKS!r}")
    return Groups.independent(len(z)) if groups is None else Groups(_numbered(groups, len(z)))


def _numbered(groups: GroupLabels, n: int) -> Int[Tensor, "n"]:
    """Return the number of the group of every row, from 0."""
    labels = _as_array(groups)
    if labels.ndim != 1:
        raise InputError(f"groups: shape {labels.shape} received; give one label per row, ({n},)")
    if len(labels) != n:
        raise InputError(f"groups: {len(labels)} labels received for {n} rows; give one label per row")
    missing = _missing(labels)
    if missing.any():
        count, first = int(missing.sum()), int(missing.argmax())
        raise InputError(
            f"groups: no label in {count} of {n} rows, the first at row {first}; give every row a label"
        )
    if labels.dtype.kind != "O":
        return torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    numbers: dict[object, int] = {}
    try:
        return torch.tensor([numbers.setdefault(label, len(numbers)) for label in labels.tolist()])
    except TypeError:
        raise InputError("groups: labels that cannot be compared received; give numbers or text") from None


def _as_array(groups: GroupLabels) -> np.ndarray:
    if isinstance(groups, Tensor):
        return groups.detach().cpu().numpy()
    if isinstance(groups, np.ma.MaskedArray):
        labels = groups.data.astype(object)
        labels[np.ma.getmaskarray(groups)] = None
        return labels
    if isinstance(groups, list | tuple):
        # NumPy would read a list of text and NaN as text.
        labels = np.empty(len(groups), dtype=object)
        labels[:] = [label.item() if isinstance(label, Tensor | np.generic) else label for label in groups]
        return labels
    if isinstance(groups, np.ndarray) or hasattr(groups, "__array__"):
        return np.asarray(groups)
    kind = repr(groups) if isinstance(groups, str) else type(groups).__name__
    raise InputError(f"groups: {kind} received; give one label per row, or {BLOCKS!r} for rows in time order")


def _missing(labels: np.ndarray) -> np.ndarray:
    """Return which labels are None, NaN, NaT or pandas' NA."""
    if labels.dtype.kind == "O":
        return np.array([_is_missing(label) for label in labels.tolist()], dtype=bool)
    if labels.dtype.kind == "M":
        return np.isnat(labels)
    return np.isnan(labels) if labels.dtype.kind in "fc" else np.zeros(len(labels), dtype=bool)


def _is_missing(label: object) -> bool:
    try:
        return label is None or bool(label != label)  # NaN differs from itself
    except (TypeError, ValueError):  # the comparison of pandas' NA has no truth value
        return True
