"""Which checkpoints a run keeps, and which of them it continues from.

``last.pt`` is the newest and ``previous.pt`` the one before it, so that damage to one file costs a few steps
alone; ``best.pt`` is chosen by the monitored number; ``step_00001000.pt`` are kept for good, or the newest
few of them.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.training.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from mmdprior.world import World

__all__ = [
    "BackgroundWriter",
    "CHECKPOINTS",
    "LAST",
    "PREVIOUS",
    "has_checkpoint",
    "kept_name",
    "last_checkpoint",
    "newest_checkpoint",
    "store",
]


class BackgroundWriter:
    """Copies a state at once and writes it in a thread, one file at a time, in order.

    Args:
        write: writes content to a path; what it raises is raised by the next call here.
    """

    def __init__(self, write: Callable[[Mapping[str, Any], Path], None]) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def submit(self, content: Mapping[str, Any], path: Path) -> None:
        """Begin to write; waits for the write before, so that at most one copy is held."""
        self.wait()
        self._pending = self._pool.submit(self._write, _copied(content), path)

    def wait(self) -> None:
        """Return once everything is written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _copied(value: Any) -> Any:
    """Return the same nested content on the CPU, sharing no tensor with the run."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(entry) for entry in value)
    return value


CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in a run directory."""
LAST = "last.pt"
PREVIOUS = "previous.pt"
_KEPT = "step_[0-9]*.pt"


def kept_name(step: int) -> str:
    """Return the file name of a checkpoint that is kept."""
    return f"step_{step:08d}.pt"


def store(content: Mapping[str, Any], path: Path, keep_last: int | None = None) -> None:
    """Write a checkpoint; the last one before it becomes the previous one, and old kept ones are deleted.

    Args:
        content: see `write_checkpoint`.
        path: the file; its folder exists.
        keep_last: how many of those kept by step stay; None for all.

    Raises:
        InputError: a disk that is full or fails; what was there is kept.
    """
    write_checkpoint(content, path, keep=path.with_name(PREVIOUS) if path.name == LAST else None)
    if keep_last is not None and path.match(_KEPT):
        for old in sorted(path.parent.glob(_KEPT))[:-keep_last]:
            old.unlink(missing_ok=True)


def last_checkpoint(run: str | Path) -> Path:
    """Return the path of a run's last checkpoint, whether or not it exists."""
    return Path(run) / CHECKPOINTS / LAST


def has_checkpoint(run: str | Path) -> bool:
    """Log whether a run directory holds a checkpoint to continue from, whole or not."""
    return bool(_in_order(Path(run)))


def _in_order(run: Path) -> list[Path]:
    """Return the checkpoints that a run can continue from, newest first."""
    folder = run / CHECKPOINTS
    names = [LAST, PREVIOUS, *sorted((path.name for path in folder.glob(_KEPT)), reverse=True)]
    return [folder / name for name in names if (folder / name).is_file()]


def newest_checkpoint(
    run: str | Path, log: Callable[[str], None] = lambda line: None
) -> tuple[Path, dict[str, Any]]:
    """Return a run's newest checkpoint that can be read, with its content.

    A damaged one is told, renamed to ``*.damaged``, and the one before it is taken: ``previous.pt``, then
    those kept by step.

    Raises:
        InputError: no checkpoint, or none that can be read.
    """
    damaged: list[Path] = []
    there = _in_order(Path(run))
    if not there:
        raise InputError(f"--resume: {run} holds no checkpoints/{LAST}; start the run anew")
    for path in there:
        if not path.is_file():  # put aside meanwhile by the main process
            continue
        try:
            content = read_checkpoint(path)
        except DamagedCheckpointError as error:
            log(f"{error}")
            damaged.append(path)
            continue
        for broken in damaged if World.from_environment().main else ():
            _rename(broken, log)
        if damaged:
            log(f"{path}: whole; continuing from its step {content['step']}")
        return path, content
    raise InputError(f"--resume: {run} holds no checkpoint that is whole; start the run anew")


def _rename(path: Path, log: Callable[[str], None]) -> None:
    """Put a damaged file where it is in nobody's way, and where it cannot become the one before."""
    try:
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        log(f"{path}: not renamed ({reason(error)})")
