"""Runs: one run from start to report, many runs from a plan, and reading what runs saved.

Example:
    >>> from mmdprior.runs import RunDirectory
    >>> RunDirectory("runs/cifar10/vae").checkpoints.as_posix()
    'runs/cifar10/vae/checkpoints'
"""

from mmdprior.runs.directory import RunDirectory, create_run_directory
from mmdprior.runs.experiment import Experiment, assemble
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
