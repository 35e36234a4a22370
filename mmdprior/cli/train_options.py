"""The options of the train command, and which of them go together."""

import argparse
from collections.abc import Sequence

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["parse"]


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Return the options.

    Raises:
        InputError: unknown ones, or some that do not go together.
    """
    parser = Parser("train", description=description)
    parser.add_argument("config", nargs="?", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the config")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    parser.add_argument("--runs", default="runs", help="where run directories are made (runs)")
    parser.add_argument(
        "--directory", metavar="DIR", help="of the run: started there, or continued, unless it has finished"
    )
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    parser.add_argument("--profile", action="store_true", help="trace steps, print where their time goes")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs")
    given = parser.parse_intermixed_args(arguments)
    if given.schema:
        return given
    if (given.config is None) == (given.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if given.resume is not None and given.directory is not None:
        raise InputError("--directory: --resume names the directory; leave one out")
    return given
