"""Steps per second, of training alone."""

import time

__all__ = ["Timer"]


class Timer:
    """Steps per second of training alone."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._start = time.perf_counter()

    def rate(self, step: int) -> float:
        """Return steps per second since the last call."""
        now = time.perf_counter()
        rate = (step - self._step) / max(now - self._start, 1e-9)
        self._step, self._start = step, now
        return rate

    def paused(self) -> "_Pause":
        """Leave out the time inside a with block."""
        return _Pause(self)

    def skip(self, seconds: float) -> None:
        """Leave out a time."""
        self._start += seconds


class _Pause:
    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._timer.skip(time.perf_counter() - self._start)
