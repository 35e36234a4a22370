"""The options of the score command that name what is scored."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmdprior.cli.encoder_options import add_encoder
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

if TYPE_CHECKING:
    from mmdprior.scoring.score import Scored, Scorer

__all__ = ["add_inputs", "check", "inputs"]


def add_inputs(parser: Parser) -> None:
    """Add these options to a parser."""
    add = parser.add_argument
    add("files", nargs="*", help="checkpoints, runs, codes (.npy .npz .pt .csv), TorchScript, .pt2 or .onnx")
    add("--codes", help="a file with an (n, d) array of codes")
    add_encoder(parser)
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
    if options.rows and not options.rows.endswith(".jsonl"):
        raise InputError(f"--rows: {options.rows} received; give a file that ends in .jsonl")
    check_outputs(options, [*options.files, options.codes, options.data, *options.weights])
    if options.block_length and options.groups != "blocks":
        raise InputError("--block-length: needs --groups blocks; add it")
    return options


def inputs(scorer: "Scorer", options: argparse.Namespace) -> tuple[list[str], Callable[[str], "Scored"]]:
    """Return the names of the inputs, and the function that scores one of them."""
    if options.encoder and options.weights:
        return options.weights, lambda weights: scorer.encoder(options.encoder, weights)
    if options.encoder:
        return [options.encoder], scorer.encoder
    return ([options.codes], scorer.codes) if options.codes else (options.files, scorer.file)
