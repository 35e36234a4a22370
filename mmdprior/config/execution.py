"""Run what has not finished of a plan, one process a run, and tell what became of it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmdprior.config.opening import has_finished
from mmdprior.config.plan import Plan, PlannedRun
from mmdprior.training.jobs import Job, Jobs

__all__ = ["Outcome", "execute", "finished_runs", "train_command"]


@dataclass(frozen=True)
class Outcome:
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


def execute(plan: Plan, runs: str | Path, at_once: int, tell: Callable[[str], None] = print) -> Outcome:
    """Run what has not finished; a run that fails does not keep the others.

    Args:
        plan: checked.
        runs: below which its folder is made.
        at_once: processes at a time.
        tell: is given a line whenever a run starts or ends.

    Raises:
        InputError: a directory that holds a run of another config; nothing has run then.
    """
    finished = finished_runs(plan, runs)
    waiting = [run for run in plan.runs if run not in finished]
    tell(f"{plan.name}: {len(plan.runs)} runs, {len(finished)} finished, {len(waiting)} to do")
    program = [sys.executable, "-m", "mmdprior.cli.main"]
    pool = Jobs(at_once, tell)
    statuses = pool.run(
        Job(run.label, [*program, *train_command(run, runs)], _log(run, runs)) for run in waiting
    )
    failed = tuple(name for name, status in statuses.items() if status != 0)
    return Outcome(failed, pool.signal)


def _log(run: PlannedRun, runs: str | Path) -> Path:
    directory = run.directory(runs)
    return directory.with_name(f"{directory.name}.log")
