"""Run the unfinished runs of a plan, one process per run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

from mmdprior.errors import reason
from mmdprior.runs.plan import Plan, PlannedRun
from mmdprior.runs.start import is_finished
from mmdprior.training.retention import has_checkpoint

__all__ = [
    "Job",
    "JobPool",
    "PlanResult",
    "devices",
    "execute",
    "finished_runs",
    "run_states",
    "train_command",
]

_POLL_SECONDS = 0.1
_NOT_STARTED = 127
"""Status of a command that cannot be started, as in a shell."""


@dataclass(frozen=True)
class PlanResult:
    """Outcome of `execute`.

    Attributes:
        failed: labels of the runs that ended with an error.
        signal: signal that stopped the plan, or None.
    """

    failed: tuple[str, ...]
    signal: int | None


def execute(
    plan: Plan,
    runs: str | Path,
    at_once: int,
    log: Callable[[str], None] = print,
    skipped: Collection[str] = (),
) -> PlanResult:
    """Run the unfinished runs of a plan; a run that fails does not stop the others.

    Args:
        plan: checked plan.
        runs: folder that contains the plan's folder.
        at_once: number of processes at a time.
        log: called with a line whenever a run starts or ends.
        skipped: labels of runs that count as finished.

    Raises:
        InputError: a directory holds a run of another config. Nothing was started in that case.
    """
    done = {*skipped, *(run.label for run in finished_runs(plan, runs))}
    finished = [run for run in plan.runs if run.label in done]
    waiting = [run for run in plan.runs if run.label not in done]
    log(f"{plan.name}: {len(plan.runs)} runs, {len(finished)} finished, {len(waiting)} to do")
    program = [sys.executable, "-m", "mmdprior.cli.main"]
    pool = JobPool(at_once, log)
    statuses = pool.run(
        Job(run.label, [*program, *train_command(run, runs)], run.log(runs)) for run in waiting
    )
    failed = tuple(name for name, status in statuses.items() if status != 0)
    return PlanResult(failed, pool.signal)


def finished_runs(plan: Plan, runs: str | Path) -> list[PlannedRun]:
    """Return the finished runs of a plan.

    Raises:
        InputError: a directory holds a run of another config.
    """
    return [run for run in plan.runs if is_finished(run.load(), run.directory(runs))]


def run_states(plan: Plan, runs: str | Path, skipped: Collection[str] = ()) -> dict[str, str]:
    """Return the state of every run of a plan by its label: finished, in the rows, started or not started.

    Args:
        plan: checked plan.
        runs: folder that contains the plan's folder.
        skipped: labels of runs that count as finished.

    Raises:
        InputError: a directory holds a run of another config.
    """
    states = {}
    for run in plan.runs:
        directory = run.directory(runs)
        started = "started" if has_checkpoint(directory) else "not started"
        state = "finished" if is_finished(run.load(), directory) else started
        states[run.label] = "in the rows" if run.label in skipped and state != "finished" else state
    return states


def train_command(run: PlannedRun, runs: str | Path) -> list[str]:
    """Return the arguments of ``mmdprior`` that start the run, continue it, or skip it if finished."""
    return ["train", *run.settings(), "--directory", str(run.directory(runs))]


def devices() -> list[str]:
    """Return the value of CUDA_VISIBLE_DEVICES for each available CUDA device; empty without CUDA."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return names[:count] if names else [str(index) for index in range(count)]


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: name in messages.
        command: program with its arguments.
        log: file to which the output is appended.
    """

    name: str
    command: Sequence[str]
    log: Path

    def last_line(self, start: int = 0) -> str:
        """Return the last line of the log after its first ``start`` bytes."""
        text = self.log.read_bytes()[start:].decode(errors="replace") if self.log.is_file() else ""
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
        return lines[-1] if lines else "no output"


class _Running(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    log_start: int  # size of the log before the process started, in bytes


class JobPool:
    """Runs jobs, a fixed number at a time.

    After the first SIGINT or SIGTERM no further job starts, and the running ones get SIGTERM, upon which they
    write a checkpoint and end. The second signal kills them.

    Args:
        at_once: number of processes at a time. They use the CUDA devices in turn and share the CPU cores.
        log: called with a line whenever a job starts or ends.
    """

    def __init__(self, at_once: int, log: Callable[[str], None] = print) -> None:
        self.at_once = at_once
        self.log = log
        self.signal: int | None = None
        self._devices = devices()
        self._running: dict[int, _Running] = {}

    def run(self, jobs: Iterable[Job]) -> dict[str, int]:
        """Run all jobs and return their statuses by name; jobs that a signal kept from starting are absent.

        The status is negative for a process that was ended by a signal, and 127 for a command that could not
        be started.
        """
        waiting = list(jobs)
        statuses: dict[str, int] = {}
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._running or (waiting and self.signal is None):
                statuses |= self._start_free_slots(waiting)
                statuses |= self._collect_ended()
                time.sleep(_POLL_SECONDS)
        finally:
            for running in self._running.values():  # after an error of ours, leave no process behind
                running.process.send_signal(signal.SIGTERM)
            for number, handler in previous.items():
                signal.signal(number, handler)
        return statuses

    def _start_free_slots(self, waiting: list[Job]) -> dict[str, int]:
        """Start waiting jobs in free slots; return the statuses of those that cannot be started."""
        failed = {}
        for slot in range(self.at_once):
            if slot in self._running or not waiting or self.signal is not None:
                continue
            job = waiting.pop(0)
            try:
                self._start(slot, job)
            except OSError as error:
                failed[job.name] = _NOT_STARTED
                self.log(f"{job.name}: not started: {reason(error)}")
        return failed

    def _start(self, slot: int, job: Job) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.log(f"{job.name}: started, log {job.log}")
        with job.log.open("ab") as log:
            log_start = log.tell()
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                start_new_session=True,  # otherwise Ctrl-C would reach the job twice: directly and by _stop
            )
        self._running[slot] = _Running(job, process, log_start)
        if self.signal is not None:  # it arrived while the process was being created
            process.send_signal(signal.SIGTERM)

    def _environment(self, slot: int) -> Mapping[str, str]:
        environment = dict(os.environ)
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[slot % len(self._devices)]
        elif self.at_once > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.at_once)))
        package = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [environment.get("PYTHONPATH")])])
        return environment

    def _collect_ended(self) -> dict[str, int]:
        statuses = {}
        for slot, (job, process, log_start) in list(self._running.items()):
            status = process.poll()
            if status is None:
                continue
            del self._running[slot]
            statuses[job.name] = status
            failure = f"status {status}: {job.last_line(log_start)}"
            self.log(f"{job.name}: {'done' if status == 0 else failure}")
        return statuses

    def _stop(self, number: int, frame: FrameType | None) -> None:
        is_second = self.signal is not None
        self.signal = number
        for running in list(self._running.values()):
            running.process.send_signal(signal.SIGKILL if is_second else signal.SIGTERM)
