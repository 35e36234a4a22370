"""Where a step's time goes: a trace for people with a viewer, a table for everyone."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["PHASES", "Profiler", "Profile", "Timer"]


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


PHASES = ("data", "encoder", "decoder", "penalty", "backward", "optimizer", "logging")


class Profiler:
    """Takes the marks that the loop sets between the phases of a step, and does nothing."""

    def begin(self, phase: str) -> None:
        """Mark that a phase begins, which ends the one before."""

    def end_step(self) -> None:
        """Mark the end of a step."""

    def close(self) -> None:
        """End whatever is open."""


class Profile(Profiler):
    """Times ``steps`` steps after ``wait`` others, writes a torch.profiler trace, prints a table.

    On a GPU phases are timed by events of its stream, so nothing waits before the end; time between phases in
    which the GPU idles counts for the phase that begins.

    Args:
        path: of the trace, read by Perfetto or chrome://tracing.
        device: that trains.
        wait: steps before, in which memory is laid out and kernels are chosen.
        steps: steps recorded.
        say: takes the table.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        wait: int = 5,
        steps: int = 20,
        say: Callable[[str], None] = print,
    ) -> None:
        self.path = path
        self.wait = wait
        self.steps = steps
        self._device = device
        self._say = say
        self._done = 0
        self._profiler: Any = None
        self._block: Any = None
        self._marks: list[tuple[str, Any]] = []

    def begin(self, phase: str) -> None:
        """Begin a phase of the recorded steps."""
        if self._profiler is None:
            return
        self._leave()
        self._marks.append((phase, self._now()))
        self._block = torch.profiler.record_function(f"step/{phase}")
        self._block.__enter__()

    def end_step(self) -> None:
        """Begin to record after ``wait`` steps; after ``steps`` more write and print."""
        self._done += 1
        if self._done == self.wait:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if self._device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells of missing GPUs, on standard error
            self._profiler = torch.profiler.profile(activities=activities)
            self._profiler.start()
        elif self._done == self.wait + self.steps:
            self.close()

    def close(self) -> None:
        """Write the trace and print the table of what has been recorded."""
        if self._profiler is None:
            return
        self._leave()
        self._marks.append(("", self._now()))
        self._profiler.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.path))
        self._profiler = None
        recorded = self._done - self.wait
        if recorded > 0:
            self._say(f"{table(self._durations(), recorded)}\ntrace {self.path}")

    def _leave(self) -> None:
        if self._block is not None:
            self._block.__exit__(None, None, None)
            self._block = None

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _durations(self) -> list[tuple[str, float]]:
        """Return (phase, seconds) for every stretch between two marks."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
            return [(phase, start.elapsed_time(end) / 1e3) for (phase, start), (_, end) in pairs]
        return [(phase, end - start) for (phase, start), (_, end) in pairs]


def table(durations: Sequence[tuple[str, float]], steps: int) -> str:
    """Return milliseconds a step and shares by phase, in the order in which they happen."""
    total = sum(seconds for _, seconds in durations)
    lines = [f"{'phase':10} {'ms a step':>10} {'share':>7}   ({steps} steps, profiler running)"]
    for phase in (*PHASES, "all"):
        seconds = sum(s for name, s in durations if phase in (name, "all"))
        lines.append(f"{phase:10} {1e3 * seconds / steps:10.3f} {seconds / max(total, 1e-12):7.1%}")
    return "\n".join(lines)
