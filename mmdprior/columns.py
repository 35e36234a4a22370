"""Columns of tables that hold labels, row numbers or times instead of codes."""

import re
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["counting_columns", "doubtful_names"]

_WORDS = (
    *("batch", "categor(?:y|ies)", "class(?:es)?", "colou?r", "date", "day", "epoch", "factors?", "file"),
    *("filename", "fold", "frame", "group", "gt", "hue", "id", "ids", "idx", "image", "index", "indices"),
    *(
        "labels?",
        "latents_classes",
        "latents_values",
        "orientation",
        "patient",
        "path",
        "pos(?:ition)?_?[xyz]",
    ),
    *(
        "row",
        "sample",
        "scale",
        "seed",
        "shape",
        "split",
        "step",
        "subject",
        "targets?",
        "time(?:_?step)?",
        "timestamp",
    ),
    *("truth", "unnamed", "url", "uuid"),
)
_DOUBTFUL = re.compile(rf"(?:.*_)?(?:{'|'.join(_WORDS)})(?:_?(?:\d+|id|index|name|number|code))?")
_NUMBERED = re.compile(r"(.*?)_?(\d+)")
_SCREENED = 64
"""Rows that decide which columns are compared over all rows."""


def doubtful_names(names: Sequence[str]) -> list[int]:
    """Return the positions of columns that are no code dimensions by their name.

    These are columns without a name, columns with a name such as ``label``, ``image_id``, ``Unnamed: 0`` or
    ``time``, and columns such as ``y`` among ``z0, z1, z2``. If this is true of all columns, none of them is
    returned: they may be codes after all.

    Args:
        names: name of every column.

    Example:
        >>> from mmdprior.columns import doubtful_names
        >>> doubtful_names(["z0", "z1", "z2", "label"]), doubtful_names(["id", "x", "y"])
        ([3], [0])
    """
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names]
    doubtful = {i for i, name in enumerate(plain) if not name or _DOUBTFUL.fullmatch(name)}
    matches = [_NUMBERED.fullmatch(name) for name in plain]
    stems = [None if match is None else match[1] for match in matches]
    numbered = {i for i, stem in enumerate(stems) if stem is not None and stems.count(stem) > 1}
    if numbered:
        # sample_0, sample_1 are codes unless there are others, such as z0, z1.
        if numbered <= doubtful:
            doubtful -= numbered
        doubtful |= {i for i, stem in enumerate(stems) if stem is None}
    return sorted(doubtful) if len(doubtful) < len(names) else []


def counting_columns(z: Float[Tensor, "n d"]) -> list[int]:
    """Return the columns that number the rows: strictly monotone, or distinct consecutive integers.

    A column of codes is monotone over n rows in random order with probability 2 / n!. At least ten rows are
    needed.

    Example:
        >>> import torch
        >>> from mmdprior.columns import counting_columns
        >>> counting_columns(torch.stack([torch.randn(50), torch.arange(50), torch.randperm(50)], 1))
        [1, 2]
    """
    if len(z) < 10:
        return []
    steps = z[1 : _SCREENED + 1] - z[: min(_SCREENED, len(z) - 1)]
    monotone = (steps > 0).all(0) | (steps < 0).all(0)
    integer = (z[:_SCREENED] == z[:_SCREENED].round()).all(0)
    candidates = (monotone | integer).nonzero().flatten().tolist()
    return [index for index in candidates if _counts(z[:, index])]


def _counts(column: Float[Tensor, "n"]) -> bool:
    first, last = column[:-1], column[1:]
    if bool((last > first).all()) or bool((last < first).all()):
        return True
    if float(column.max()) - float(column.min()) != len(column) - 1:
        return False
    ordered = column.sort().values
    return bool((ordered[1:] - ordered[:-1] == 1).all())
