"""What the commands study and sweep share: run the runs of a plan, or print their commands."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, positive
from mmdprior.comparison import read_runs
from mmdprior.runs.execute import devices, execute, finished_runs, train_command
from mmdprior.runs.plan import PlanKind, read_plan

__all__ = ["main"]


def main(kind: PlanKind, arguments: Sequence[str], description: str | None) -> int:
    """Parse arguments, run what has not finished, print one table of what has."""
    parser = Parser(kind, description=description)
    parser.add_argument("plan", help=f"YAML file of a {kind}")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to every run")
    parser.add_argument("--runs", default="runs", help="below which the plan's folder is made (runs)")
    parser.add_argument("--jobs", type=positive, help="processes at a time (one a CUDA device, else one)")
    parser.add_argument("--emit", action="store_true", help="print one command a run, and run nothing")
    parser.add_argument("--table", action="store_true", help="compare what has finished, and run nothing")
    given = parser.parse_intermixed_args(arguments)
    plan = read_plan(given.plan, given.overrides, kind)
    if given.emit:
        for run in plan.runs:
            print(shlex.join(["mmdprior", *train_command(run, given.runs)]))
        return 0
    status = 0
    if not given.table:
        outcome = execute(plan, given.runs, given.jobs or len(devices()) or 1, _tell)
        if outcome.signal is not None:
            _tell("interrupted; the same command continues")
            return 128 + outcome.signal
        status = 2 if outcome.failed else 0
        for line in outcome.failed:
            print(f"error: {line}", file=sys.stderr)
    finished = finished_runs(plan, given.runs)
    print(f"{plan.name}: {len(finished)} of {len(plan.runs)} runs have finished")
    if finished:
        comparison = read_runs([run.directory(given.runs) for run in finished])
        print(comparison)
        comparison.write(Path(given.runs) / plan.name / "comparison")
    return status


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
