"""The options of the sculpt command."""

import argparse
from pathlib import Path
from typing import get_args

from mmdprior.choices import FitObjective
from mmdprior.cli.options import add_device, positive
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser
from mmdprior.cli.sculpt_inputs import add_inputs, check_inputs
from mmdprior.errors import InputError

__all__ = ["add_options", "check"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add_inputs(parser, source="a checkpoint or run directory, or codes (.npy .npz .csv)")
    add(
        "--prior",
        help="a prior: a name, '{name: uniform, low: -2}', or file.py:object (default: its own)",
    )
    add("--given", metavar="N|FILE", help="labels for a conditional prior: N of the data's, or a file")
    add("--out", required=True, help="a .pt file; or a folder, which becomes a run directory")
    add("--steps", type=positive, default=1000, help="number of training steps of the map")
    add("--layers", type=positive, default=8, help="number of coupling layers")
    add("--noise", type=float, default=0.05, help="standard deviation of noise on whitened codes in the fit")
    add("--transport", type=float, default=0.0, help="weight of |z - w|^2 / d, with w the whitened codes")
    add("--objective", choices=get_args(FitObjective), default="auto", help="objective of the fit")
    add("--dequantize", action="store_true", help="replace each atom of the prior by a density on a cell")
    predictors = ["linear", "additive", "mlp", "information"]
    add("--predictor", nargs="+", default=predictors, help="predictors of LPS")
    add("--spatial", choices=("channels", "flatten"), help="how to read codes with more than two axes")
    add("--data", help="images: YAML; for a checkpoint (its own) also a folder, .npz, .npy")
    add("--limit", type=positive, help="training images to encode, evenly spaced (default: 200000)")
    add("--seed", type=int, default=0, help="seed of splits, posterior noise, fit, draws and predictors")
    add("--json", metavar="OUT", help="write the scores and the fit here")
    add("--figure", metavar="OUT", help="write decoded draws before and after here (.png, .pdf, .svg)")
    add_device(parser, trust="the checkpoint")


def check(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, or raise `InputError` for options that do not go together."""
    check_inputs(options, "sculpt", "a checkpoint or codes")
    check_outputs(options, [options.source, options.data, *options.weights])
    if Path(options.out).suffix not in ("", ".pt"):
        raise InputError(f"--out: {options.out} received; give a file that ends in .pt, or a folder")
    return options
