"""The options of commands that take a checkpoint, or an encoder and a decoder trained elsewhere."""

import argparse

from mmdprior.cli.options import positive
from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["add_inputs", "check_inputs"]


def add_inputs(parser: Parser, source: str) -> None:
    """Add these options to a parser, with the help of the input that is a file or a folder."""
    add = parser.add_argument
    add("source", nargs="?", help=source)
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    add("--decoder", help="decoder trained elsewhere; it returns images in [0, 1]")
    add("--weights", nargs="+", default=[], help="one file for both, or the encoder's and the decoder's")
    add("--latent-dim", type=positive, help="number of code dimensions of encoder and decoder")
    add(
        "--posterior",
        choices=("deterministic", "gaussian"),
        default="deterministic",
        help="what the encoder returns: codes, or means and log-variances",
    )


def check_inputs(options: argparse.Namespace, command: str, source: str) -> None:
    """Check that there is either a file, named ``source`` in the error, or an encoder with all it needs."""
    pair = {name: getattr(options, name) for name in ("encoder", "decoder", "data", "latent_dim")}
    if (options.source is None) == (options.encoder is None):
        raise InputError(f"{command}: give either {source}, or --encoder and --decoder")
    missing = [f"--{name.replace('_', '-')}" for name, value in pair.items() if value is None]
    if options.source is None and missing:
        raise InputError(f"--encoder: needs {' and '.join(missing)}; add it")
    if options.source is not None and (options.decoder or options.weights):
        raise InputError("--decoder, --weights: only for --encoder; leave them out")
