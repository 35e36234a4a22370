"""SIGINT and SIGTERM: finish the current step, write a checkpoint, then stop.

A stopped training ends with status 130 (SIGINT, Ctrl-C) or 143 (SIGTERM), the statuses that shells report for
processes which these signals end. A second signal ends it at once.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

__all__ = ["StopSignals", "TerminatedError", "raise_on_sigterm"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived outside the training loop."""


class StopSignals:
    """Context manager that records SIGINT and SIGTERM. Calling it returns whether one has arrived.

    A signal that arrives after the last call is raised again when the context ends. Outside the main thread,
    which alone receives signals in Python, calls return False.

    Args:
        log: called with one line when the first signal arrives.

    Example:
        >>> import os, signal
        >>> with StopSignals() as stop:
        ...     before = stop()
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     before, stop(), stop.status
        (False, True, 143)
    """

    def __init__(self, log: Callable[[str], None] = lambda line: None) -> None:
        self.number: int | None = None
        self._process = os.getpid()
        self._log = log
        self._handled = False
        self._previous: dict[int, signal._HANDLER] = {}

    @property
    def status(self) -> int:
        """Exit status of the stopped process: 128 plus the signal, SIGTERM if another process received it."""
        return 128 + (signal.SIGTERM if self.number is None else self.number)

    def __call__(self) -> bool:
        """Return whether to stop. After True the signal counts as handled."""
        self._handled |= self.number is not None
        return self._handled

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._record) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.number is not None and not self._handled and error is None:
            os.kill(os.getpid(), self.number)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A DataLoader worker forked inside the context. Ctrl-C reaches the whole process group, but the
            # current step may still need the worker.
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        self._log(f"{signal.Signals(number).name}: stopping after this step; a second signal stops at once")


def raise_on_sigterm() -> None:
    """Make SIGTERM raise `TerminatedError` in the main thread, as SIGINT raises KeyboardInterrupt."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TerminatedError
