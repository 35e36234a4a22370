"""Runs: one run from start to report, many runs from a plan, and reading what runs saved.

Names are imported on first use, so that the signal handlers of a command do not wait for torch.

Example:
    >>> from mmdprior.runs import RunDirectory
    >>> RunDirectory("runs/cifar10/vae").checkpoints.as_posix()
    'runs/cifar10/vae/checkpoints'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdprior.runs.assembly import assemble
    from mmdprior.runs.directory import RunDirectory, create_run_directory
    from mmdprior.runs.experiment import Experiment
    from mmdprior.runs.plan import Plan, read_plan
    from mmdprior.runs.read import Run, find_runs, read_run

__all__ = [
    "Experiment",
    "Plan",
    "Run",
    "RunDirectory",
    "assemble",
    "create_run_directory",
    "find_runs",
    "read_plan",
    "read_run",
]

_PLACES = {
    "Experiment": "experiment",
    "Plan": "plan",
    "Run": "read",
    "RunDirectory": "directory",
    "assemble": "assembly",
    "create_run_directory": "directory",
    "find_runs": "read",
    "read_plan": "plan",
    "read_run": "read",
}
"""Module that defines each public name."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
