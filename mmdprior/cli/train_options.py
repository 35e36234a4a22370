"""The options of the train command."""

import argparse

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["add_options", "check"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add("config", nargs="?", help="YAML config, or the name of a shipped one, such as cifar10/vae")
    add("overrides", nargs="*", metavar="key.sub=value", help="changes to the config")
    add("--resume", metavar="RUN", help="continue this run; data.root=DIR if its data moved")
    add("--runs", metavar="DIR", default="runs", help="folder in which the run directory is made")
    add("--directory", metavar="DIR", help="start the run in this directory, or continue it unless finished")
    add("--dry-run", action="store_true", help="build all parts, process one batch and write nothing")
    add("--trust", action="store_true", help="allow code that the checkpoint names to run")
    add("--profile", action="store_true", help="print the time per part of a step; write a trace")
    add("--schema", action="store_true", help="print the JSON schema of configs and exit")


def check(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, or raise `InputError` for options that do not go together."""
    if options.schema:
        return options
    if options.resume is not None and options.config is not None and "=" in options.config:
        options.overrides, options.config = [options.config, *options.overrides], None
    if (options.config is None) == (options.resume is None):
        raise InputError("train: give either a config or --resume RUN")
    if options.resume is not None and options.directory is not None:
        raise InputError("--directory: cannot be combined with --resume, which names the directory")
    if options.resume is not None and options.dry_run:
        raise InputError("--dry-run: cannot be combined with --resume; give a config")
    return options
