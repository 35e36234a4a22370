"""Train from a YAML config, or continue a run.

SIGINT and SIGTERM end it after the step, with a checkpoint and status 130 or 143; a second one at once.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

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
    """Parse arguments, train, print where the run lies and how it scores."""
    given = parse(arguments, __doc__)
    if given.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    main_process = World.from_environment().main
    with ExitStack() as hold:
        hold.enter_context(redirect_stdout(sys.stdout if main_process else None))
        experiment = open_run(given, hold, _tell)
        if experiment is None:
            print(f"run {given.directory} has finished; nothing to do")
            return 0
        directory, trainer, config = experiment.directory or Path(), experiment.trainer, experiment.config
        if main_process:
            RunDirectory(directory).record_command(["mmdprior", "train", *arguments])
        if main_process and given.profile:
            trainer.profiler = Profile(RunDirectory(directory).trace, trainer.device)
        print(f"run {directory} on {trainer.device}")
        print(f"penalty: {trainer.regularizer.describe()}", flush=True)
        trainer.stop = stop = StopSignals(_tell)
        result = experiment.run(stop)
    if trainer.stopped:
        _tell(f"stopped at step {trainer.step}; mmdprior train --resume {directory} continues")
        return stop.status
    if not main_process:
        return 0
    print(f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {trainer.step}")
    print(result)
    print(f"checkpoint {last_checkpoint(directory)}")
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
