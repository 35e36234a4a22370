"""The options of the score command that name what is scored."""

import argparse

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

__all__ = ["add_inputs", "check"]


def add_inputs(parser: Parser) -> None:
    """Add these options to a parser."""
    add = parser.add_argument
    add("files", nargs="*", help="checkpoints, runs, codes (.npy .npz .pt .csv), TorchScript or .pt2 files")
    add("--codes", help="a file with an (n, d) array of codes")
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    add("--weights", help="weights of the encoder: a state dict (.pt) or .safetensors")
    add("--posterior", choices=("deterministic", "gaussian"), help="of the encoder (default: deterministic)")
    add("--columns", nargs="+", metavar="COLUMN", default=[], help="columns: names, 3 or 0-7 (default: all)")
    add("--drop", nargs="+", metavar="COLUMN", default=[], help="columns to leave out, such as label")
    add("--data", help="other images: a folder, .npz, .npy, or a YAML data section")


def check(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, or raise `InputError` for options that do not go together."""
    if sum(map(bool, (options.files, options.codes, options.encoder))) != 1:
        raise InputError("score: give exactly one of files, --codes FILE, --encoder TARGET")
    if options.codes and (options.data or options.weights):
        raise InputError("--codes: cannot be combined with --data or --weights; leave them out")
    if options.files and options.weights:
        raise InputError("--weights: a checkpoint contains its weights; leave it out, or give --encoder")
    if options.block_length and options.groups != "blocks":
        raise InputError("--block-length: needs --groups blocks; add it")
    return options
