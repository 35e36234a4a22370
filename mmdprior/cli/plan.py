"""The part that the commands study and sweep share: run the runs of a plan, or print their commands."""

import shlex
from collections.abc import Sequence

from mmdprior.cli.parser import Parser, positive, print_error
from mmdprior.comparison import Comparison, write_page
from mmdprior.comparison.groups import group_runs
from mmdprior.runs.execute import PlanResult, devices, execute, finished_runs, train_command
from mmdprior.runs.plan import PlanKind, read_plan
from mmdprior.runs.read import read_run
from mmdprior.runs.rows import add_rows, find_rows

__all__ = ["main"]


def main(kind: PlanKind, arguments: Sequence[str], description: str | None) -> int:
    """Run the unfinished runs of a plan, then print one table of the finished ones."""
    parser = Parser(kind, description=description)
    parser.add_argument("plan", help=f"YAML file of a {kind}")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to every run")
    parser.add_argument("--runs", default="runs", help="folder in which the plan's folder is made (runs)")
    parser.add_argument("--jobs", type=positive, help="runs at a time (one per CUDA device, otherwise one)")
    parser.add_argument("--emit", action="store_true", help="print one command per run, and run nothing")
    parser.add_argument("--table", action="store_true", help="compare the finished runs, and run nothing")
    parser.add_argument("--rows", metavar="FILE", help="file of scores; runs with a line in it are skipped")
    options = parser.parse_intermixed_args(arguments)
    plan = read_plan(options.plan, options.overrides, kind)
    if options.emit:
        for run in plan.runs:
            print(shlex.join(["mmdprior", *train_command(run, options.runs)]))
        return 0
    rows = find_rows(plan, options.rows) if options.rows else {}
    result = PlanResult((), None)
    if not options.table:
        at_once = options.jobs or len(devices()) or 1
        result = execute(plan, options.runs, at_once, print_error, skipped=rows)
    if options.rows:
        rows |= add_rows(plan, options.runs, options.rows)
    if result.signal is not None:
        print_error("interrupted; the same command continues")
        return 128 + result.signal
    for name in result.failed:
        print_error(f"error: {name}")
    runs = rows | {
        run.label: read_run(run.directory(options.runs)) for run in finished_runs(plan, options.runs)
    }
    print(f"{plan.name}: {len(runs)} of {len(plan.runs)} runs finished")
    if runs:
        comparison = Comparison(group_runs([runs[run.label] for run in plan.runs if run.label in runs]))
        print(comparison)
        write_page(comparison, plan.comparison(options.runs))
    return 2 if result.failed else 0
