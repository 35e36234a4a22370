"""Options of commands that take an encoder trained elsewhere."""

import argparse
from typing import TYPE_CHECKING, get_args

from mmdprior.choices import PosteriorName, Spatial
from mmdprior.cli.parser import Parser

if TYPE_CHECKING:
    from mmdprior.scoring.foreign_encoder import EncoderOptions

__all__ = ["add_encoder", "encoder_options"]


def add_encoder(parser: Parser) -> None:
    """Add the options to a parser."""
    add = parser.add_argument
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    help_of_weights = "weights of the encoder: files or folders, one per model"
    add("--weights", nargs="+", default=[], metavar="FILE", help=help_of_weights)
    add("--key", help="state dict in a file of weights, such as ema.net; or array in a file of codes")
    add("--prefix", help="prefix of the tensor names to load; it is removed (default: detected)")
    add("--method", help="method or submodule that encodes, such as encode (default: the module itself)")
    add(
        "--outputs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="which outputs are codes, or mean and log_var: names, or positions from 0",
    )
    add(
        "--posterior",
        choices=get_args(PosteriorName),
        help="meaning of unnamed outputs: codes, (mean, log_var) or (mean, std) (default: detected)",
    )
    add("--spatial", choices=get_args(Spatial), help="how codes (n, c, h, w) or (n, t, d) become rows")
    add(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="pixel values of black and white that the encoder expects (default: 0 1)",
    )
    add("--input-mean", nargs="+", type=float, default=[], metavar="MEAN", help="mean of each channel")
    add("--input-std", nargs="+", type=float, default=[], metavar="STD", help="deviation of each channel")


def encoder_options(options: argparse.Namespace) -> "EncoderOptions":
    """Return how the encoder is called and read."""
    from mmdprior.scoring.foreign_encoder import EncoderOptions

    names = ("key", "prefix", "method", "outputs", "spatial", "input_range", "input_mean", "input_std")
    chosen = {name: getattr(options, name) for name in names}
    return EncoderOptions(**{name: value for name, value in chosen.items() if value is not None})
