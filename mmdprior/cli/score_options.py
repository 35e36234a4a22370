"""The options of the score command."""

import argparse
from collections.abc import Sequence
from typing import get_args

from mmdprior.build.data import SplitName
from mmdprior.cli.factor_options import add_factors
from mmdprior.cli.parser import Parser, add_device, positive
from mmdprior.errors import InputError
from mmdprior.metrics.protocol import Transform
from mmdprior.predictors import PREDICTORS

__all__ = ["parse"]


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Parse the options and check that they go together.

    Raises:
        InputError: an unknown option, or options that exclude each other.
    """
    parser = Parser("score", description=description)
    add = parser.add_argument
    add("files", nargs="*", help="checkpoints, runs, codes (.npy .npz .pt .csv), TorchScript or .pt2 files")
    add("--codes", help="a file with an (n, d) array of codes")
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    add("--weights", help="weights of the encoder: a state dict (.pt) or .safetensors")
    add("--posterior", choices=("deterministic", "gaussian"), help="of the encoder (deterministic)")
    add("--columns", nargs="+", metavar="COLUMN", default=[], help="columns: names, 3 or 0-7 (all)")
    add("--drop", nargs="+", metavar="COLUMN", default=[], help="columns to leave out, such as label")
    add("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    add("--split", choices=get_args(SplitName), help="(test; all images of data without test images)")
    add("--predictor", nargs="+", choices=sorted(PREDICTORS), default=["linear", "mlp"])
    add("--limit", type=positive, help="rows to score, evenly spaced (10000 images, all codes)")
    add("--batch-size", type=positive, default=512, help="images per batch (512)")
    add("--seed", type=int, default=0, help="seed of noise, split and predictors (0)")
    add("--seeds", type=positive, default=1, help="predictor seeds to average over (1)")
    add("--folds", type=positive, default=1, help="folds of cross-fitting; 1 is one split (1)")
    add("--transform", choices=get_args(Transform), default="standardise", help="of each code dimension")
    groups = "a column of the codes, a label of the images, a file with one label per row, or blocks"
    add("--groups", metavar="COLUMN|FILE", help=f"groups of dependent rows: {groups} for rows in time order")
    add("--block-length", type=positive, help="rows per block (estimated from the autocorrelation)")
    add_factors(parser)
    add("--json", metavar="OUT", help="write the scores here; keyed by path for several files")
    add("--figures", metavar="DIR", help="write figures here, one folder per input")
    add_device(parser, trust="checkpoints and saved models")
    options = parser.parse_intermixed_args(arguments)
    if sum(map(bool, (options.files, options.codes, options.encoder))) != 1:
        raise InputError("score: give exactly one of files, --codes FILE, --encoder TARGET")
    if options.codes and (options.data or options.weights):
        raise InputError("--codes: cannot be combined with --data or --weights; leave them out")
    if options.files and options.weights:
        raise InputError("--weights: a checkpoint contains its weights; leave it out, or give --encoder")
    if options.block_length and options.groups != "blocks":
        raise InputError("--block-length: needs --groups blocks; add it")
    return options
