"""Runs: one from start to report, many from a plan."""

from mmdprior.runs.directory import create_run_directory
from mmdprior.runs.experiment import Experiment, assemble
from mmdprior.runs.read import Run, find_runs, read_run

__all__ = ["Experiment", "Run", "assemble", "create_run_directory", "find_runs", "read_run"]
