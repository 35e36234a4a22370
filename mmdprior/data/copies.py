"""Exact copies among files."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["copies_across", "groups_of_copies"]

_MAX_COMPARED = 100_000
"""Files whose content is compared, at most; of larger sets, a part of the sizes that files have."""

_HEAD = 4096
"""Bytes that are compared first."""


def groups_of_copies(files: Sequence[Path]) -> list[list[Path]]:
    """Return groups of two or more files with the same bytes.

    Only files of equal size are read. Of more than 100,000 files, those with sizes divisible by some number
    are compared, so that a copy and its original are both among them or both not.

    Args:
        files: paths; those that cannot be read are left out.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.data.copies import groups_of_copies
        >>> for name, content in (("a", b"x"), ("b", b"y"), ("c", b"x")):
        ...     _ = Path(name).write_bytes(content)
        >>> groups_of_copies([Path("a"), Path("b"), Path("c")])
        [[PosixPath('a'), PosixPath('c')]]
    """
    step = -(-len(files) // _MAX_COMPARED)

    def size(file: Path) -> int | None:
        count = os.stat(file).st_size
        return count if count % step == 0 else None

    groups = [list(files)]
    for key in (size, _hash_of_head, _hash):
        groups = [part for group in groups for part in _split(group, key)]
    return groups


def copies_across(splits: Mapping[str, Sequence[Path]]) -> dict[tuple[str, str], list[tuple[Path, Path]]]:
    """Return pairs of files of two splits with the same bytes, by the names of the splits.

    Args:
        splits: files by the name of their split. Each pair of names is in the order of this mapping.
    """
    split_of = {file: name for name, files in splits.items() for file in files}
    names = list(splits)
    pairs = defaultdict(list)
    for group in groups_of_copies(list(split_of)):
        ordered = sorted(group, key=lambda file: names.index(split_of[file]))
        for file in ordered[1:]:
            if split_of[file] != split_of[ordered[0]]:
                pairs[split_of[ordered[0]], split_of[file]].append((ordered[0], file))
    return dict(pairs)


def _split(files: Iterable[Path], key: Callable[[Path], Hashable | None]) -> list[list[Path]]:
    """Return the groups of two or more files with the same key; files without one are left out."""
    groups = defaultdict(list)
    for file in files:
        try:
            value = key(file)
        except OSError:
            value = None
        if value is not None:
            groups[value].append(file)
    return [group for group in groups.values() if len(group) > 1]


def _hash_of_head(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.blake2b(content.read(_HEAD)).digest()


def _hash(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes()).digest()
