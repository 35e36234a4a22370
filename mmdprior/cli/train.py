"""Train from a YAML config, or continue a run."""

import json
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser
from mmdprior.config import assemble, load_config
from mmdprior.config.json_schema import json_schema
from mmdprior.config.rebuild import config_of
from mmdprior.errors import InputError
from mmdprior.training import last_checkpoint, read_checkpoint

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, train, print where the run lies and how it scores."""
    parser = Parser("train", description=__doc__)
    parser.add_argument("config", nargs="?", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the config")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    parser.add_argument("--runs", default="runs", help="where run directories are made (runs)")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs")
    given = parser.parse_intermixed_args(arguments)
    if given.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    if (given.config is None) == (given.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if given.resume is not None:
        path = last_checkpoint(given.resume)
        content = read_checkpoint(path)
        config = config_of(content, str(path), trust=given.trust)
        experiment = assemble(config, Path(given.resume), content)
    else:
        config = load_config(given.config, given.overrides)
        experiment = assemble(config, runs=given.runs)
    directory = experiment.directory or Path()
    print(f"run {directory} on {experiment.trainer.device}")
    print(f"penalty: {experiment.trainer.regularizer.describe()}")
    result = experiment.run()
    if result is None:
        print(f"stopped at step {experiment.trainer.step}; train --resume {directory} continues")
        return 0
    print(
        f"test split of {config.slots['data'].name or 'data'}, {config.name}, step {experiment.trainer.step}"
    )
    print(result)
    print(f"checkpoint {directory / 'checkpoints' / 'last.pt'}")
    return 0
