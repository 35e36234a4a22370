"""Train from a YAML config, or continue a run."""

import json
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from mmdprior.cli.parser import Parser
from mmdprior.config import load_config
from mmdprior.config.json_schema import json_schema
from mmdprior.config.opening import continue_run, enter_run, start_run
from mmdprior.errors import InputError
from mmdprior.training import Profile
from mmdprior.training.run_directory import record_command
from mmdprior.world import World

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
    parser.add_argument("--profile", action="store_true", help="trace steps, print where their time goes")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs")
    given = parser.parse_intermixed_args(arguments)
    if given.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    if (given.config is None) == (given.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if given.resume is not None and given.directory is not None:
        raise InputError("--directory: --resume names the directory; leave one out")
    main_process = World.from_environment().main
    with ExitStack() as hold:
        if not main_process:
            hold.enter_context(redirect_stdout(None))
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
        if main_process:
            record_command(directory, ["mmdprior", "train", *arguments])
        print(f"run {directory} on {experiment.trainer.device}")
        print(f"penalty: {experiment.trainer.regularizer.describe()}", flush=True)
        if given.profile and main_process:
            experiment.trainer.phases = Profile(
                directory / "profile" / "trace.json", experiment.trainer.device
            )
        result = experiment.run()
        if experiment.trainer.stopped:
            print(f"stopped at step {experiment.trainer.step}; train --resume {directory} continues")
    if result is None:
        return 0
    config = experiment.config
    print(
        f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {experiment.trainer.step}"
    )
    print(result)
    print(f"checkpoint {directory / 'checkpoints' / 'last.pt'}")
    return 0
