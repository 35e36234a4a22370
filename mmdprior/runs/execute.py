"""Run what has not finished of a plan, one process a run, and tell what became of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

from mmdprior.errors import reason
from mmdprior.runs.plan import Plan, PlannedRun
from mmdprior.runs.start import has_finished

__all__ = ["Job", "Jobs", "PlanResult", "devices", "execute", "finished_runs", "train_command"]

_POLL = 0.1
_NOT_STARTED = 127


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: for messages.
        command: with its arguments.
        log: file that takes what it prints, added to what is there.
    """

    name: str
    command: Sequence[str]
    log: Path

    def last_line(self, since: int = 0) -> str:
        """Return the last thing that it said, after so many bytes of its log."""
        text = self.log.read_bytes()[since:].decode(errors="replace") if self.log.is_file() else ""
        said = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return said[-1] if said else "it said nothing"


def devices() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES takes for each CUDA device at hand; empty on a machine without."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [name.strip() for name in visible.split(",") if name.strip()]
    return named[:count] if named else [str(index) for index in range(count)]


class _Running(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    said: int  # bytes in the log before it started


class Jobs:
    """Runs jobs, a number of them at a time.

    The first SIGINT or SIGTERM lets no further job start and asks those that run to stop, which write a
    checkpoint; the second kills them.

    Args:
        at_once: processes at a time; they take the CUDA devices in turn, and share the CPU's cores.
        log: is given a line whenever a job starts or ends.
    """

    def __init__(self, at_once: int, log: Callable[[str], None] = print) -> None:
        self.at_once = at_once
        self.log = log
        self.signal: int | None = None
        self._devices = devices()
        self._running: dict[int, _Running] = {}

    def run(self, jobs: Iterable[Job]) -> dict[str, int]:
        """Return the status of every job that ran, by name; those that a signal kept back are absent.

        A process that a signal ended has that signal's negative number as its status; one that could not be
        started has 127, as in a shell, and does not keep the others.
        """
        waiting = list(jobs)
        done: dict[str, int] = {}
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._running or (waiting and self.signal is None):
                free = [slot for slot in range(self.at_once) if slot not in self._running]
                for slot in free if self.signal is None else ():
                    if waiting:
                        job = waiting.pop(0)
                        try:
                            self._start(slot, job)
                        except OSError as error:
                            done[job.name] = _NOT_STARTED
                            self.log(f"{job.name}: not started: {reason(error)}")
                done |= self._ended()
                time.sleep(_POLL)
        finally:
            for running in self._running.values():  # an error of ours leaves none behind
                running.process.send_signal(signal.SIGTERM)
            for number, handler in before.items():
                signal.signal(number, handler)
        return done

    def _start(self, slot: int, job: Job) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.log(f"{job.name}: started, log {job.log}")
        with job.log.open("ab") as log:
            said = log.tell()
            # A session of its own: Ctrl-C reaches the job through _ask alone, once.
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                start_new_session=True,
            )
        self._running[slot] = _Running(job, process, said)
        if self.signal is not None:  # it came while the process was being made
            process.send_signal(signal.SIGTERM)

    def _environment(self, slot: int) -> Mapping[str, str]:
        own = dict(os.environ)
        if self._devices:
            own["CUDA_VISIBLE_DEVICES"] = self._devices[slot % len(self._devices)]
        elif self.at_once > 1:
            own.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.at_once)))
        package = str(Path(__file__).parents[2])
        own["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [own.get("PYTHONPATH")])])
        return own

    def _ended(self) -> dict[str, int]:
        found = {}
        for slot, (job, process, said) in list(self._running.items()):
            status = process.poll()
            if status is None:
                continue
            del self._running[slot]
            found[job.name] = status
            failure = f"status {status}: {job.last_line(said)}"
            self.log(f"{job.name}: {'done' if status == 0 else failure}")
        return found

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is not None
        self.signal = number
        for running in list(self._running.values()):
            running.process.send_signal(signal.SIGKILL if again else signal.SIGTERM)


@dataclass(frozen=True)
class PlanResult:
    """What became of a plan.

    Attributes:
        failed: names of the runs that ended with an error.
        signal: that stopped the plan, or None.
    """

    failed: tuple[str, ...]
    signal: int | None


def train_command(run: PlannedRun, runs: str | Path) -> list[str]:
    """Return the arguments of ``mmdprior`` that start the run, continue it, or find it finished."""
    return ["train", *run.settings(), "--directory", str(run.directory(runs))]


def finished_runs(plan: Plan, runs: str | Path) -> list[PlannedRun]:
    """Return the runs of a plan that have finished.

    Raises:
        InputError: a directory that holds a run of another config.
    """
    return [run for run in plan.runs if has_finished(run.load(), run.directory(runs))]


def execute(plan: Plan, runs: str | Path, at_once: int, log: Callable[[str], None] = print) -> PlanResult:
    """Run what has not finished; a run that fails does not keep the others.

    Args:
        plan: checked.
        runs: below which its folder is made.
        at_once: processes at a time.
        log: is given a line whenever a run starts or ends.

    Raises:
        InputError: a directory that holds a run of another config; nothing has run then.
    """
    finished = finished_runs(plan, runs)
    waiting = [run for run in plan.runs if run not in finished]
    log(f"{plan.name}: {len(plan.runs)} runs, {len(finished)} finished, {len(waiting)} to do")
    program = [sys.executable, "-m", "mmdprior.cli.main"]
    pool = Jobs(at_once, log)
    statuses = pool.run(
        Job(run.label, [*program, *train_command(run, runs)], _log(run, runs)) for run in waiting
    )
    failed = tuple(name for name, status in statuses.items() if status != 0)
    return PlanResult(failed, pool.signal)


def _log(run: PlannedRun, runs: str | Path) -> Path:
    directory = run.directory(runs)
    return directory.with_name(f"{directory.name}.log")
