"""Where the time of a step goes: a torch.profiler trace, and a table of phases."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

__all__ = ["PHASES", "Profile", "Profiler", "Timer", "table"]

PHASES = ("data", "encoder", "decoder", "penalty", "backward", "optimizer", "logging")
"""Phases of a step, in order."""


class Timer:
    """Measures steps per second, without the time of validation and checkpoints.

    Args:
        step: step at which the clock starts.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._start = time.perf_counter()

    def rate(self, step: int) -> float:
        """Return steps per second since the last call."""
        now = time.perf_counter()
        rate = (step - self._step) / max(now - self._start, 1e-9)
        self._step, self._start = step, now
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time inside a with block from the rate."""
        begin = time.perf_counter()
        yield
        self._start += time.perf_counter() - begin


class Profiler:
    """Base class of profilers: receives the phases of a step and does nothing.

    Example:
        >>> class Phases(Profiler):
        ...     def __init__(self):
        ...         self.names = []
        ...     def begin(self, phase):
        ...         self.names.append(phase)
        >>> phases = Phases()
        >>> phases.begin("encoder")
        >>> phases.end_step()
        >>> phases.names
        ['encoder']
    """

    def begin(self, phase: str) -> None:
        """Begin a phase; the phase before ends.

        Args:
            phase: one of `PHASES`.
        """

    def end_step(self) -> None:
        """End a step."""

    def close(self) -> None:
        """End the last phase and write results, if any."""


class Profile(Profiler):
    """Profiles ``steps`` steps after ``wait`` others, writes a torch.profiler trace and logs a table.

    On CUDA, phases are timed by events in the stream, so that the host does not wait for the device before
    the end. Time in which the GPU is idle counts for the phase that begins next.

    Args:
        path: file of the trace, for Perfetto or chrome://tracing.
        device: device of the training.
        wait: steps before profiling, in which memory is allocated and kernels are selected.
        steps: number of profiled steps.
        log: receives the table.

    Example:
        >>> profile = Profile(Path("trace.json"), torch.device("cpu"), wait=1, steps=1, log=print)
        >>> for step in range(2):
        ...     profile.begin("encoder")
        ...     _ = torch.ones(2).sum()
        ...     profile.end_step()
        phase      ms per step   share   (1 steps, profiler running)
        ...
        trace trace.json
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        wait: int = 5,
        steps: int = 20,
        log: Callable[[str], None] = print,
    ) -> None:
        self.path = path
        self.wait = wait
        self.steps = steps
        self._device = device
        self._log = log
        self._done = 0
        self._profiler: Any = None
        self._block: Any = None
        self._marks: list[tuple[str, Any]] = []

    def begin(self, phase: str) -> None:
        """Begin a phase; ignored outside the profiled steps."""
        if self._profiler is None:
            return
        self._end_phase()
        self._marks.append((phase, self._now()))
        self._block = torch.profiler.record_function(f"step/{phase}")
        self._block.__enter__()

    def end_step(self) -> None:
        """Start profiling after ``wait`` steps; after ``steps`` more, write the trace and log the table."""
        self._done += 1
        if self._done == self.wait:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if self._device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it warns of missing GPUs on stderr
            self._profiler = torch.profiler.profile(activities=activities)
            self._profiler.start()
        elif self._done == self.wait + self.steps:
            self.close()

    def close(self) -> None:
        """Write the trace and log the table of the steps profiled so far."""
        if self._profiler is None:
            return
        self._end_phase()
        self._marks.append(("", self._now()))
        self._profiler.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.path))
        self._profiler = None
        profiled = self._done - self.wait
        if profiled > 0:
            self._log(f"{table(self._durations(), profiled)}\ntrace {self.path}")

    def _end_phase(self) -> None:
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
        """Return (phase, seconds) between each two successive marks."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        if self._device.type == "cuda":
            torch.cuda.synchronize()  # the events must have happened before their times can be read
            return [(phase, start.elapsed_time(end) / 1e3) for (phase, start), (_, end) in pairs]
        return [(phase, end - start) for (phase, start), (_, end) in pairs]


def table(durations: Sequence[tuple[str, float]], steps: int) -> str:
    """Return milliseconds per step and shares by phase, as text.

    Args:
        durations: phase and seconds of every stretch of time.
        steps: number of steps that they cover.
    """
    total = sum(seconds for _, seconds in durations)
    lines = [f"{'phase':10} {'ms per step':>11} {'share':>7}   ({steps} steps, profiler running)"]
    for phase in (*PHASES, "all"):
        seconds = sum(s for name, s in durations if phase in (name, "all"))
        lines.append(f"{phase:10} {1e3 * seconds / steps:11.3f} {seconds / max(total, 1e-12):7.1%}")
    return "\n".join(lines)
