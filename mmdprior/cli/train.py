"""Train from a YAML config, or continue a run.

SIGINT and SIGTERM end it after the step, with a checkpoint and status 130 or 143; a second one at once.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mmdprior.cli.train_options import parse
from mmdprior.config import Experiment, load_config
from mmdprior.config.json_schema import json_schema
from mmdprior.config.opening import continue_run, enter_run, start_run
from mmdprior.training.run_directory import record_command
from mmdprior.training.signals import StopSignals

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, train, print where the run lies and how it scores."""
    given = parse(arguments, __doc__)
    if given.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    with ExitStack() as hold:
        experiment = _open(given, hold)
        if experiment is None:
            print(f"run {given.directory} has finished; nothing to do")
            return 0
        directory, trainer, config = experiment.directory or Path(), experiment.trainer, experiment.config
        record_command(directory, ["mmdprior", "train", *arguments])
        print(f"run {directory} on {trainer.device}")
        print(f"penalty: {trainer.regularizer.describe()}", flush=True)
        trainer.stop = stop = StopSignals(_tell)
        result = experiment.run(stop)
    if result is None:
        _tell(f"stopped at step {trainer.step}; mmdprior train --resume {directory} continues")
        return stop.status
    print(f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {trainer.step}")
    print(result)
    print(f"checkpoint {directory / 'checkpoints' / 'last.pt'}")
    return 0


def _open(given: Namespace, hold: ExitStack) -> Experiment | None:
    if given.resume is not None:
        return continue_run(given.resume, hold, _tell, trust=given.trust)
    config = load_config(given.config, given.overrides)
    if given.directory is not None:
        return enter_run(config, Path(given.directory), hold, _tell)
    return start_run(config, given.runs, hold)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
