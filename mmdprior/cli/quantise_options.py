"""The options of the quantise command."""

import argparse
from pathlib import Path
from typing import get_args

from mmdprior.choices import BinKind, PredictorName, SplitName
from mmdprior.cli.options import add_device, positive
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser
from mmdprior.cli.sculpt_inputs import add_inputs, check_inputs
from mmdprior.errors import InputError

__all__ = ["add_options", "check"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add_inputs(parser, source="a checkpoint or run directory")
    add("--levels", nargs="+", type=positive, help="levels per dimension (default: 2 3 4 8 16 32)")
    add(
        "--bins",
        nargs="+",
        choices=get_args(BinKind),
        help="cells of the levels (default: own of a model with a quantiser, otherwise lloyd)",
    )
    predictors = ["linear", "mlp"]
    names = get_args(PredictorName)
    add("--predictor", nargs="*", choices=names, default=predictors, help="predictors of LPS of the indices")
    add("--data", help="other images: YAML; for a checkpoint also a folder, .npz, .npy")
    add("--limit", type=positive, help="held-out images (default: 10000; all of them with --out)")
    add("--split", choices=get_args(SplitName), default="test", help="split whose indices --out writes")
    add("--seed", type=int, default=0, help="seed of posterior noise and predictors")
    add("--json", metavar="OUT", help="write the rows here")
    add("--out", help="write packed indices of one number of levels here (.npz), or decoded images (.npy)")
    add("--decode", metavar="CODES", help="decode a file of packed indices to --out")
    add_device(parser, trust="the checkpoint")


def check(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, or raise `InputError` for options that do not go together."""
    check_inputs(options, "quantise", "a checkpoint")
    check_outputs(options, [options.source, options.data, options.decode, *options.weights])
    suffix = ".npy" if options.decode else ".npz"
    if options.decode and not options.out:
        raise InputError("--decode: needs --out, a .npy file for the images; add it")
    if options.out and Path(options.out).suffix != suffix:
        raise InputError(f"--out: {options.out} received; give a file that ends in {suffix}")
    if options.out and options.json:
        raise InputError("--json: received with --out, which writes no rows; leave one of them out")
    if options.levels and min(options.levels) < 2:
        raise InputError("--levels: 1 received; give at least 2")
    return options
