"""Factors of image files, from a table with one row per file."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_files import encode_columns, read_columns, split_location, to_column
from mmdprior.data.known_factors import KnownFactors
from mmdprior.errors import InputError

__all__ = ["factors_of_files"]

_NAME_COLUMNS = ("file", "file_name", "filename", "image", "image_id", "image_name", "path")
"""Names of the column of file names, in lower case; without any it is the first column."""


def factors_of_files(
    location: str, top: Path, files: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, Tensor], KnownFactors]:
    """Return the factors of the images of every split, one row per file, and what their values mean.

    Args:
        location: ``FILE`` or ``FILE:COLUMN,COLUMN``, relative to ``top`` if it is there.
        top: folder of the images.
        files: image files of every split.

    Raises:
        InputError: the table cannot be read, has no columns of factors, names a file twice or one that is no
            image of the folder, or has no row for an image.
    """
    path, key = split_location(location, top)
    columns = read_columns(path, "factors")
    by_name = {name.lower(): name for name in reversed(columns)}
    file_column = next((by_name[name] for name in _NAME_COLUMNS if name in by_name), next(iter(columns)))
    chosen = [name for name in columns if name != file_column] if key is None else key.split(",")
    unknown = [name for name in chosen if name not in columns]
    if unknown or not chosen:
        known = ", ".join(name for name in columns if name != file_column)
        raise InputError(f"factors: {location}: column {unknown[:1]} received; its factors are {known}")
    every_file = [file for paths in files.values() for file in paths]
    rows = _rows(path, columns[file_column], top, every_file)
    table, texts = encode_columns({name: to_column(columns[name])[rows] for name in chosen})
    parts = torch.from_numpy(table).split([len(paths) for paths in files.values()])
    kinds = KnownFactors({name: "discrete" if name in texts else None for name in chosen})
    return dict(zip(files, parts, strict=True)), kinds


def _rows(path: Path, names: Sequence[str], top: Path, files: Sequence[Path]) -> np.ndarray:
    """Return the row of the table of every file."""
    exact = {file.relative_to(top).as_posix(): [index] for index, file in enumerate(files)}
    by_name: dict[str, list[int]] = {}
    for index, file in enumerate(files):
        by_name.setdefault(file.name, []).append(index)
    rows = np.full(len(files), -1)
    for row, name in enumerate(names):
        plain = PurePath(name).as_posix()
        matches = exact.get(plain) or by_name.get(plain, [])
        if len(matches) != 1:
            problem = (
                f"is in several folders of {top}; give its path"
                if matches
                else f"is no image of {top}; remove the row"
            )
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
