"""Files of a run's ``checkpoints/`` folder: their names, which are kept, and which one a run resumes from.

- ``last.pt``: newest checkpoint.
- ``previous.pt``: the one before it, so that damage to one file costs only a few steps.
- ``best.pt``: best by the monitored number.
- ``step_00001000.pt``: checkpoints that are not overwritten, all of them or the newest few.
- ``nonfinite.json``: step, losses and rows of the batch of a non-finite loss.
- ``*.damaged``: damaged checkpoints, renamed when a run resumed from an older one.
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
    "BEST",
    "BackgroundWriter",
    "CHECKPOINTS",
    "LAST",
    "NONFINITE",
    "PREVIOUS",
    "has_checkpoint",
    "kept_name",
    "last_checkpoint",
    "newest_checkpoint",
    "store",
]

CHECKPOINTS = "checkpoints"
"""Name of the folder in a run directory."""
LAST = "last.pt"
PREVIOUS = "previous.pt"
BEST = "best.pt"
NONFINITE = "nonfinite.json"
_KEPT = "step_[0-9]*.pt"
_DAMAGED = ".damaged"


def kept_name(step: int) -> str:
    """Return the file name of a checkpoint that is not overwritten."""
    return f"step_{step:08d}.pt"


def last_checkpoint(run: str | Path) -> Path:
    """Return the path of the last checkpoint of a run directory, whether or not it exists."""
    return Path(run) / CHECKPOINTS / LAST


def has_checkpoint(run: str | Path) -> bool:
    """Return whether a run directory holds a checkpoint to resume from, intact or damaged."""
    return bool(_newest_first(Path(run)))


def _newest_first(run: Path) -> list[Path]:
    """Return the checkpoints that a run can resume from, newest first."""
    folder = run / CHECKPOINTS
    names = [LAST, PREVIOUS, *sorted((path.name for path in folder.glob(_KEPT)), reverse=True)]
    return [folder / name for name in names if (folder / name).is_file()]


def newest_checkpoint(
    run: str | Path, log: Callable[[str], None] = lambda line: None
) -> tuple[Path, dict[str, Any]]:
    """Return path and content of the newest intact checkpoint of a run.

    Damaged checkpoints are reported to ``log`` and renamed to ``*.damaged``. The next older one is then read:
    ``previous.pt``, then those kept by step.

    Args:
        run: the run directory.
        log: called with one line per damaged checkpoint.

    Raises:
        InputError: the run has no checkpoint, or no intact one.

    Example:
        >>> folder = Path("run/checkpoints")
        >>> folder.mkdir(parents=True)
        >>> content = {"format_version": 2, "config": {}, "image_shape": [1, 8, 8], "step": 7, "model": {}}
        >>> write_checkpoint(content, folder / "step_00000007.pt")
        >>> _ = (folder / "last.pt").write_bytes(b"")
        >>> path, content = newest_checkpoint("run")
        >>> path.name, content["step"]
        ('step_00000007.pt', 7)
    """
    damaged: list[Path] = []
    candidates = _newest_first(Path(run))
    if not candidates:
        raise InputError(f"--resume: {run} holds no {CHECKPOINTS}/{LAST}; start the run again")
    for path in candidates:
        if not path.is_file():  # rank 0 has renamed it in the meantime
            continue
        try:
            content = read_checkpoint(path)
        except DamagedCheckpointError as error:
            log(f"{error}")
            damaged.append(path)
            continue
        for file in damaged if World.from_environment().main else ():
            _set_aside(file, log)
        if damaged:
            log(f"{path}: intact; continuing from its step {content['step']}")
        return path, content
    raise InputError(f"--resume: {run} holds no intact checkpoint; start the run again")


def _set_aside(path: Path, log: Callable[[str], None]) -> None:
    """Rename a damaged file, so that the next write of ``last.pt`` does not make it ``previous.pt``."""
    try:
        os.replace(path, path.with_name(f"{path.name}{_DAMAGED}"))
    except OSError as error:
        log(f"{path}: not renamed ({reason(error)})")


def store(content: Mapping[str, Any], path: Path, keep_last: int | None = None) -> None:
    """Write a checkpoint. The old ``last.pt`` becomes ``previous.pt``, and old kept ones are deleted.

    Args:
        content: see `write_checkpoint`.
        path: the file; its folder exists.
        keep_last: number of checkpoints kept by step that stay; None keeps all.

    Raises:
        InputError: the disk is full or fails; the files before are kept.
    """
    write_checkpoint(content, path, keep=path.with_name(PREVIOUS) if path.name == LAST else None)
    if keep_last is not None and path.match(_KEPT):
        for old in sorted(path.parent.glob(_KEPT))[:-keep_last]:
            old.unlink(missing_ok=True)


class BackgroundWriter:
    """Copies a state at once and writes it in a thread, one file at a time, in order.

    Args:
        write: function that writes content to a path. Its exception is raised by the next call of `submit` or
            `wait`.
    """

    def __init__(self, write: Callable[[Mapping[str, Any], Path], None]) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def submit(self, content: Mapping[str, Any], path: Path) -> None:
        """Copy the content and begin to write it."""
        self.wait()  # for the write before, so that at most one copy is in memory
        # Copied now: the next step changes the tensors in place while the thread writes.
        self._pending = self._pool.submit(self._write, _copied(content), path)

    def wait(self) -> None:
        """Wait until everything is written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _copied(value: Any) -> Any:
    """Return nested content with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(entry) for entry in value)
    return value
