"""Columns of tables that hold labels, row numbers or times instead of codes."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, shorten

__all__ = ["Columns", "counting_columns", "doubtful_names"]

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
    """Return the positions of columns that are not code dimensions, judged by their name.

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


@dataclass(frozen=True)
class Columns:
    """Choice of the columns of a table or an array that are codes.

    Attributes:
        keep: names, positions from 0 or ranges such as ``0-7`` of the columns to keep; empty for all.
        drop: those to leave out.

    Example:
        >>> from mmdprior.columns import Columns
        >>> Columns(drop=["label"]).positions("z.csv", 3, ["z0", "z1", "label"])
        [0, 1]
        >>> Columns(keep=["0-1"]).positions("z.npy", 3)
        [0, 1]
    """

    keep: Sequence[str] = ()
    drop: Sequence[str] = ()

    @property
    def chosen(self) -> bool:
        """Whether the user has chosen columns; if not, doubtful ones are refused."""
        return bool(self.keep or self.drop)

    def positions(
        self, path: str, count: int, names: Sequence[str] | None = None, without: int | None = None
    ) -> list[int]:
        """Return the positions of the columns to read, in the order of the file.

        Args:
            path: file, for errors.
            count: number of columns in the file.
            names: their names, if the file has any.
            without: position of a column that is read for another purpose.

        Raises:
            InputError: there is no such column, or no column is left; or, without a choice, the name of a
                column says that it is no code dimension.
        """
        if not self.chosen:
            self._check_names(path, names, without)
        kept: set[int | None] = {*range(count)}
        if self.keep:
            kept = {*self._listed(path, "--columns", self.keep, count, names)}
        kept -= self._listed(path, "--drop", self.drop, count, names) | {without}
        if not kept:
            raise InputError(f"{path}: no column is left; give fewer columns to --drop")
        return [position for position in range(count) if position in kept]

    def check_counting(self, path: str, z: Float[Tensor, "n d"], names: Sequence[str] | None = None) -> None:
        """Raise `InputError` if a column numbers the rows and the user has not chosen columns."""
        counting = [] if self.chosen else counting_columns(z)
        if counting:
            listed = [str(i) if names is None else names[i] for i in counting]
            raise InputError(
                f"{path}: column {', '.join(listed)} numbers the rows, like an index or a time; give "
                f"--drop {shlex.join(listed)}, or --columns to score it"
            )

    @staticmethod
    def _check_names(path: str, names: Sequence[str] | None, without: int | None) -> None:
        if names is None:
            return
        rest = [position for position in range(len(names)) if position != without]
        doubtful = [rest[i] for i in doubtful_names([names[position] for position in rest])]
        if not doubtful:
            return
        listed = [names[i] or str(i) for i in doubtful]
        unnamed = " (an index that pandas writes; save with index=False)" if "" in names else ""
        raise InputError(
            f"{path}: columns {[names[i] for i in doubtful]} received, which are no code dimensions by their "
            f"names{unnamed}; give --drop {shlex.join(listed)}, or --columns with the columns to score"
        )

    @staticmethod
    def _listed(
        path: str, option: str, words: Sequence[str], count: int, names: Sequence[str] | None
    ) -> set[int]:
        positions: set[int] = set()
        for word in words:
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
            if names is not None and word in names:
                positions |= {i for i, name in enumerate(names) if name == word}
            elif match and int(match[1]) <= int(match[2] or match[1]) < count:
                positions |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
            else:
                known = shorten(", ".join(names)) if names is not None else f"0 to {count - 1}"
                raise InputError(f"{option}: {word!r} received for {path}; its columns are {known}")
        return positions
