"""The part that the commands study and sweep share: run the runs of a plan, or print their commands."""

import argparse
import json
import shlex
from typing import TYPE_CHECKING

from mmdprior.cli.options import print_error
from mmdprior.errors import InputError

if TYPE_CHECKING:
    from mmdprior.runs.plan import PlanKind

__all__ = ["main"]


def main(kind: "PlanKind", options: argparse.Namespace) -> int:
    """Run the unfinished runs of a plan, then print one table of the finished ones."""
    from mmdprior.cli.finished import compare_finished
    from mmdprior.runs.execute import PlanResult, devices, execute, run_states, train_command
    from mmdprior.runs.plan import read_plan
    from mmdprior.runs.plan_schema import plan_schema
    from mmdprior.runs.rows import add_rows, find_rows

    if options.schema:
        print(json.dumps(plan_schema(), indent=2))
        return 0
    if options.plan is None:
        raise InputError(f"{kind}: missing a plan; give a YAML file")
    plan = read_plan(options.plan, options.overrides, kind)
    if options.emit:
        for run in plan.runs:
            print(shlex.join(["mmdprior", *train_command(run, options.runs)]))
        return 0
    rows = find_rows(plan, options.rows) if options.rows else {}
    if options.dry_run:
        for label, state in run_states(plan, options.runs, rows).items():
            print(f"{label}: {state}")
        return 0
    result = PlanResult((), None)
    if not options.table:
        log = (lambda line: None) if options.quiet else print_error
        result = execute(plan, options.runs, options.jobs or len(devices()) or 1, log, skipped=rows)
    if options.rows:
        rows |= add_rows(plan, options.runs, options.rows)
    if result.signal is not None:
        print_error("interrupted; run the same command again to continue")
        return 128 + result.signal
    for name in result.failed:
        print_error(f"error: {name}")
    print(compare_finished(plan, options.runs, rows))
    return 2 if result.failed else 0
