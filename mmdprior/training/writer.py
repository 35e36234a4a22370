"""Checkpoints written by a thread, while training goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

__all__ = ["BackgroundWriter"]


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
