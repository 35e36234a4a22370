"""The options of the sculpt command that name a model."""

import argparse

from mmdprior.cli.options import positive
from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["add_inputs", "check_inputs"]


def add_inputs(parser: Parser) -> None:
    """Add these options to a parser."""
    add = parser.add_argument
    add("source", nargs="?", help="a checkpoint or run directory, or codes (.npy .npz .csv)")
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    add("--decoder", help="its decoder, which returns images in [0, 1]")
    add("--weights", nargs="+", default=[], help="their weights: one file, or encoder and decoder")
    add("--latent-dim", type=positive, help="their number of code dimensions")
    add("--posterior", choices=("deterministic", "gaussian"), default="deterministic", help="of the encoder")


def check_inputs(options: argparse.Namespace) -> None:
    """Check that there is either a file, or an encoder with all that it needs."""
    pair = {name: getattr(options, name) for name in ("encoder", "decoder", "data", "latent_dim")}
    if (options.source is None) == (options.encoder is None):
        raise InputError("sculpt: give either a checkpoint or codes, or --encoder and --decoder")
    missing = [f"--{name.replace('_', '-')}" for name, value in pair.items() if value is None]
    if options.source is None and missing:
        raise InputError(f"--encoder: needs {' and '.join(missing)}; add it")
    if options.source is not None and (options.decoder or options.weights):
        raise InputError("--decoder, --weights: only for --encoder; leave them out")
