"""Factors of image files, from a table with one row per file."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_files import (
    encode_columns,
    names_in_key,
    read_columns,
    split_location,
    to_column,
)
from mmdprior.data.known_factors import KnownFactors
from mmdprior.errors import InputError

__all__ = ["factors_of_files"]

_NAME_COLUMNS = ("file", "file_name", "filename", "image", "image_id", "image_name", "path")
"""Names of the column of file names, in lower case; without any it is the first column."""


def _lower_suffix(file: PurePath) -> str:
    """Return a path with its suffix in lower case."""
    return file.with_suffix(file.suffix.lower()).as_posix() if file.suffix else file.as_posix()


_FORMS: Sequence[Callable[[PurePath], str]] = (
    PurePath.as_posix,
    lambda file: file.name,
    _lower_suffix,
    lambda file: _lower_suffix(PurePath(file.name)),
    lambda file: file.with_suffix("").as_posix(),
    lambda file: file.stem,
)
"""Names of an image that a table may hold, from its path below the folder, the preferred one first."""


def factors_of_files(
    location: str, top: Path, files: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, Tensor], KnownFactors]:
    """Return the factors of the images of every split, one row per file, and what their values mean.

    Args:
        location: ``FILE`` or ``FILE:COLUMN,COLUMN``, relative to ``top`` if it is there.
        top: folder of the images.
        files: image files of every split.

    A row names its image by its path below ``top``, its absolute path, or its file name, if that is unique.
    The suffix may have another case, or be left out, if that leaves one image.

    Raises:
        InputError: the table cannot be read, has no columns of factors, names a file twice or one that is no
            image of the folder, or has no row for an image.
    """
    path, key = split_location(location, top)
    columns = read_columns(path, "factors")
    by_name = {name.lower(): name for name in reversed(columns)}
    file_column = next((by_name[name] for name in _NAME_COLUMNS if name in by_name), next(iter(columns)))
    chosen = [name for name in columns if name != file_column] if key is None else names_in_key(key)
    if not chosen:
        raise InputError(f"factors: {location}: only column {file_column!r} received; add one per factor")
    unknown = [name for name in chosen if name not in columns]
    if unknown:
        known = ", ".join(name for name in columns if name != file_column)
        raise InputError(f"factors: {location}: column {unknown[:1]} received; its factors are {known}")
    every_file = [file for paths in files.values() for file in paths]
    rows = _rows(path, columns[file_column], top, every_file)
    table, texts = encode_columns({name: to_column(columns[name])[rows] for name in chosen})
    parts = torch.from_numpy(table).split([len(paths) for paths in files.values()])
    kinds = KnownFactors({name: "discrete" if name in texts else None for name in chosen})
    return dict(zip(files, parts, strict=True)), kinds


def _relative(name: PurePath, top: Path) -> PurePath:
    """Return an absolute path below a folder as a relative one, and any other path unchanged."""
    if not name.is_absolute():
        return name
    plain = Path(os.path.abspath(name))
    real = plain.parent.resolve() / plain.name  # an image may be a link to a file elsewhere
    for path, folder in ((plain, os.path.abspath(top)), (real, top.resolve())):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return name


def _problem(name: PurePath, top: Path, files: Sequence[PurePath], matches: Sequence[int]) -> str:
    """Return what is wrong with a name of no image or of several, and the remedy."""
    if len({files[index].parent for index in matches}) > 1:
        return f"is in several folders of {top}; give its path"
    if matches:
        return f"is the name of several files of {top}; give its suffix"
    by_name = {file.name: file for file in reversed(files)}
    close = difflib.get_close_matches(name.name, by_name, n=1)
    nearest = f"did you mean {by_name[close[0]].as_posix()!r}? Otherwise " if close else ""
    return f"is no image of {top}; {nearest}remove the row"


def _rows(path: Path, names: Sequence[str], top: Path, files: Sequence[Path]) -> np.ndarray:
    """Return the row of the table of every file."""
    below = [file.relative_to(top) for file in files]
    levels: list[dict[str, list[int]]] = []
    for form in _FORMS:
        level: dict[str, list[int]] = {}
        for index, file in enumerate(below):
            level.setdefault(form(file), []).append(index)
        levels.append(level)
    rows = np.full(len(files), -1)
    for row, name in enumerate(names):
        plain = _relative(PurePath(name), top)
        exact, lower = plain.as_posix(), _lower_suffix(plain)
        keys = (exact, exact, lower, lower, exact, exact)
        matches = next((level[key] for level, key in zip(levels, keys, strict=True) if key in level), [])
        if len(matches) != 1:
            problem = _problem(plain, top, below, matches)
            raise InputError(f"factors: {path}: file {name!r} in row {row + 1} {problem}")
        if rows[matches[0]] >= 0:
            raise InputError(f"factors: {path}: file {name!r} has two rows; remove one")
        rows[matches[0]] = row
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        raise InputError(
            f"factors: {path}: {len(missing)} of {len(files)} images have no row, such as "
            f"{files[missing[0]].relative_to(top)}; add one, with empty cells for unknown values"
        )
    return rows
