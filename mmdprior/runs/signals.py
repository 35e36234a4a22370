"""SIGINT and SIGTERM: finish the step and keep it; a second one ends at once.

A training that was stopped ends with status 130 (SIGINT, Ctrl-C) or 143 (SIGTERM), as the shell reports
processes that these signals end.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

__all__ = ["StopSignals", "TerminatedError", "raise_on_sigterm"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, outside the training loop."""


class StopSignals:
    """Inside a with block: called, it tells whether SIGINT or SIGTERM has come.

    A signal that comes too late to be asked for is raised again when the block ends. Outside the main thread,
    where Python takes no signals, it says no.

    Args:
        log: is given a line when the first signal comes.
    """

    def __init__(self, log: Callable[[str], None] = lambda line: None) -> None:
        self.number: int | None = None
        self._process = os.getpid()
        self._log = log
        self._heeded = False
        self._before: dict[int, signal._HANDLER] = {}

    @property
    def status(self) -> int:
        """Exit status of a process that was stopped; by another process of its run, if none came here."""
        return 128 + (signal.SIGTERM if self.number is None else self.number)

    def __call__(self) -> bool:
        """Log whether to stop; from then on the signal counts as taken care of."""
        self._heeded |= self.number is not None
        return self._heeded

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.number is not None and not self._heeded and error is None:
            os.kill(os.getpid(), self.number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A worker forked inside the block. Ctrl-C reaches it, too, but the step may still need it.
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        self._log(f"{signal.Signals(number).name}: stopping after this step; once more ends at once")


def raise_on_sigterm() -> None:
    """Let SIGTERM raise `TerminatedError`, as SIGINT raises KeyboardInterrupt, in the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TerminatedError
