"""Train from a YAML config, or resume a run.

SIGINT and SIGTERM end the training after the current step, with a checkpoint and status 130 or 143. A second
signal ends it at once.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from mmdprior.cli.parser import print_error
from mmdprior.cli.train_options import parse
from mmdprior.config.json_schema import json_schema
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.signals import StopSignals
from mmdprior.runs.start import open_run
from mmdprior.training import Profile
from mmdprior.training.retention import last_checkpoint
from mmdprior.world import World

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Train and print the run directory and the scores of the test split."""
    options = parse(arguments, __doc__)
    if options.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    is_main = World.from_environment().main
    with ExitStack() as claims:
        claims.enter_context(redirect_stdout(sys.stdout if is_main else None))
        place = {name: getattr(options, name) for name in ("resume", "directory", "runs", "trust")}
        experiment = open_run(options.config, options.overrides, claims, print_error, **place)
        if experiment is None:
            print(f"run {options.directory} is finished; nothing to do")
            return 0
        directory, trainer, config = experiment.directory or Path(), experiment.trainer, experiment.config
        if is_main:
            RunDirectory(directory).record_command(["mmdprior", "train", *arguments])
        if is_main and options.profile:
            trainer.profiler = Profile(RunDirectory(directory).trace, trainer.device)
        print(f"run {directory} on {trainer.device}")
        print(f"penalty: {trainer.regularizer.describe()}", flush=True)
        trainer.stop = stop = StopSignals(print_error)
        result = experiment.run(stop)
    if trainer.stopped:
        print_error(f"stopped at step {trainer.step}; mmdprior train --resume {directory} continues")
        return stop.status
    if not is_main:
        return 0
    print(f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {trainer.step}")
    print(result)
    print(f"checkpoint {last_checkpoint(directory)}")
    return 0
