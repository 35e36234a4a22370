"""The options of the compare command."""

import argparse

from mmdprior.cli.options import add_device
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["add_options", "check"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    runs = "run directories, folders that contain some at any depth, or .jsonl files of rows"
    parser.add_argument("runs", nargs="+", help=runs)
    parser.add_argument(
        "--out", metavar="DIR", help="write index.html, comparison.md and comparison.json here"
    )
    parser.add_argument("--json", metavar="OUT", help="write every score of every run here")
    ranks = "print rank correlations of unsupervised with supervised scores"
    parser.add_argument("--select", action="store_true", help=ranks)
    parser.add_argument("--tensorboard", action="store_true", help="write overlays to DIR/tensorboard")
    parser.add_argument("--complete", action="store_true", help="write missing reports, from the checkpoints")
    parser.add_argument("--data", help="for --complete: where the data are now, if they moved")
    add_device(parser, trust="the checkpoints")


def check(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, or raise `InputError` for options that do not go together."""
    check_outputs(options, [])
    if options.tensorboard and not options.out:
        raise InputError("--tensorboard: needs a folder; give --out DIR")
    return options
