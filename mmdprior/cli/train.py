"""Train from a YAML config, or continue a run."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mmdprior.cli.parser import Parser
from mmdprior.config import load_config
from mmdprior.config.json_schema import json_schema
from mmdprior.config.opening import continue_run, enter_run, start_run
from mmdprior.errors import InputError
from mmdprior.training.run_directory import record_command

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, train, print where the run lies and how it scores."""
    parser = Parser("train", description=__doc__)
    parser.add_argument("config", nargs="?", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the config")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    parser.add_argument("--runs", default="runs", help="where run directories are made (runs)")
    parser.add_argument("--directory", metavar="DIR", help="of this run; continues what is there unfinished")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs")
    given = parser.parse_intermixed_args(arguments)
    if given.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    if (given.config is None) == (given.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if given.resume is not None and given.directory is not None:
        raise InputError("--directory: --resume names the directory; leave one out")
    with ExitStack() as hold:
        if given.resume is not None:
            experiment = continue_run(given.resume, hold, trust=given.trust)
        elif given.directory is not None:
            entered = enter_run(load_config(given.config, given.overrides), Path(given.directory), hold)
            if entered is None:
                print(f"run {given.directory} has finished; nothing to do")
                return 0
            experiment = entered
        else:
            experiment = start_run(load_config(given.config, given.overrides), given.runs, hold)
        directory = experiment.directory or Path()
        record_command(directory, ["mmdprior", "train", *arguments])
        print(f"run {directory} on {experiment.trainer.device}")
        print(f"penalty: {experiment.trainer.regularizer.describe()}", flush=True)
        result = experiment.run()
    if result is None:
        print(f"stopped at step {experiment.trainer.step}; train --resume {directory} continues")
        return 0
    config, step = experiment.config, experiment.trainer.step
    print(f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {step}")
    print(result)
    print(f"checkpoint {directory / 'checkpoints' / 'last.pt'}")
    return 0
