"""Which checkpoints a run keeps, and which of them it continues from.

``last.pt`` is the newest and ``previous.pt`` the one before it, so that damage to one file costs a few steps
alone; ``best.pt`` is chosen by the monitored number; ``step_00001000.pt`` are kept for good, or the newest
few of them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdprior.errors import InputError, reason
from mmdprior.training.checkpoint import DamagedCheckpointError, read_checkpoint

__all__ = ["LAST", "PREVIOUS", "kept_name", "newest_checkpoint", "prune", "set_aside"]

LAST = "last.pt"
PREVIOUS = "previous.pt"
_KEPT = "step_[0-9]*.pt"


def kept_name(step: int) -> str:
    """Return the file name of a checkpoint that is kept."""
    return f"step_{step:08d}.pt"


def set_aside(folder: Path) -> None:
    """Give the last checkpoint the name of the one before it, too, so that a new one can take its place.

    There is a whole checkpoint under one of the two names at every moment.
    """
    last, link = folder / LAST, folder / f".{PREVIOUS}.{os.getpid()}.tmp"
    if not last.is_file():
        return
    try:
        link.unlink(missing_ok=True)
        os.link(last, link)
        os.replace(link, folder / PREVIOUS)
    except OSError:  # a file system without hard links
        os.replace(last, folder / PREVIOUS)


def prune(folder: Path, keep_last: int | None) -> None:
    """Delete all kept checkpoints but the newest few; None deletes none."""
    if keep_last is not None:
        for path in sorted(folder.glob(_KEPT))[:-keep_last]:
            path.unlink(missing_ok=True)


def newest_checkpoint(
    run: str | Path, tell: Callable[[str], None] = lambda line: None
) -> tuple[Path, dict[str, Any]]:
    """Return a run's newest checkpoint that can be read, with its content.

    A damaged one is told, renamed to ``*.damaged``, and the one before it is taken: ``previous.pt``, then those
    kept by step.

    Raises:
        InputError: no such directory, no checkpoint, or none that can be read.
    """
    folder = Path(run) / "checkpoints"
    if not Path(run).is_dir():
        raise InputError(f"--resume: {run} is not a folder; give a run directory")
    names = [LAST, PREVIOUS, *sorted((p.name for p in folder.glob(_KEPT)), reverse=True)]
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise InputError(f"--resume: {run} holds no checkpoints/{LAST}; start the run anew")
    damaged: list[Path] = []
    for path in there:
        try:
            content = read_checkpoint(path)
        except DamagedCheckpointError as error:
            tell(f"{error}")
            damaged.append(path)
            continue
        for broken in damaged:
            _rename(broken, tell)
        if damaged:
            tell(f"{path}: whole; continuing from its step {content['step']}")
        return path, content
    raise InputError(f"--resume: {run} holds no checkpoint that is whole; start the run anew")


def _rename(path: Path, tell: Callable[[str], None]) -> None:
    """Put a damaged file where it is in nobody's way, and where it cannot become the one before."""
    try:
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        tell(f"{path}: not renamed ({reason(error)})")
