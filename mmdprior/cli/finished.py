"""The finished runs of a plan, compared."""

from collections.abc import Mapping

from mmdprior.comparison import Comparison, write_page
from mmdprior.comparison.groups import group_runs
from mmdprior.runs.execute import finished_runs
from mmdprior.runs.plan import Plan
from mmdprior.runs.read import Run, read_run

__all__ = ["compare_finished"]


def compare_finished(plan: Plan, folder: str, rows: Mapping[str, Run]) -> str:
    """Write the page of the finished runs, and return their number and their table.

    Args:
        plan: the plan.
        folder: folder that contains the plan's folder.
        rows: runs by label that were read from a file of rows.
    """
    runs = {**rows}
    runs |= {run.label: read_run(run.directory(folder)) for run in finished_runs(plan, folder)}
    head = f"{plan.name}: {len(runs)} of {len(plan.runs)} runs finished"
    if not runs:
        return head
    comparison = Comparison(group_runs([runs[run.label] for run in plan.runs if run.label in runs]))
    write_page(comparison, plan.comparison(folder))
    return f"{head}\n{comparison}"
