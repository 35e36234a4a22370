"""The options of the train command."""

import argparse
from collections.abc import Sequence

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["parse"]


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Parse the options and check that they go together.

    Raises:
        InputError: an unknown option, or options that exclude each other.
    """
    parser = Parser("train", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="YAML config")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the config")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this directory")
    parser.add_argument("--runs", default="runs", help="folder in which the run directory is made (runs)")
    parser.add_argument(
        "--directory", metavar="DIR", help="start the run in this directory, or continue it unless finished"
    )
    parser.add_argument("--trust", action="store_true", help="allow code that the checkpoint names to run")
    parser.add_argument(
        "--profile", action="store_true", help="print the time per part of a step; write a trace"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs and exit")
    options = parser.parse_intermixed_args(arguments)
    if options.schema:
        return options
    if (options.config is None) == (options.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if options.resume is not None and options.directory is not None:
        raise InputError("--directory: cannot be combined with --resume, which names the directory")
    return options
