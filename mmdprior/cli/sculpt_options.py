"""The options of the sculpt command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, add_device, positive
from mmdprior.errors import InputError

__all__ = ["parse"]


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Parse the options and check that they go together.

    Raises:
        InputError: an unknown option, or options that exclude each other.
    """
    parser = Parser("sculpt", description=description)
    add = parser.add_argument
    add("source", nargs="?", help="a checkpoint or run directory, or codes (.npy .npz .csv)")
    add("--encoder", help="encoder trained elsewhere: package.module:Class or file.py:Class")
    add("--decoder", help="its decoder, which returns images in [0, 1]")
    add("--weights", nargs="+", default=[], help="their weights: one file, or encoder and decoder")
    add("--latent-dim", type=positive, help="their number of code dimensions")
    add("--posterior", choices=("deterministic", "gaussian"), default="deterministic", help="of the encoder")
    add("--prior", help="a prior: a name, '{name: uniform, low: -2}', or file.py:object (the checkpoint's)")
    add("--out", required=True, help="a .pt file; or a folder, which becomes a run directory")
    add("--steps", type=positive, default=1000, help="updates of the fit (1000)")
    add("--layers", type=positive, default=8, help="couplings (8)")
    add("--noise", type=float, default=0.05, help="noise on whitened codes in the fit (0.05)")
    add("--transport", type=float, default=0.0, help="weight that keeps dimensions where they are (0)")
    add("--objective", choices=("auto", "likelihood", "two_maps", "mmd", "sliced"), default="auto")
    add("--dequantize", action="store_true", help="spread the values of a prior with atoms over cells")
    add("--predictor", nargs="+", default=["linear", "additive", "mlp", "information"], help="of LPS")
    add("--spatial", choices=("channels", "flatten"), help="how to read codes with more than two axes")
    add("--data", help="images: YAML; for a checkpoint (its own) also a folder, .npz, .npy")
    add("--limit", type=positive, help="training images to encode, evenly spaced (200000)")
    add("--seed", type=int, default=0, help="seed of everything random (0)")
    add("--json", metavar="OUT", help="write the scores and the fit here")
    add("--figure", metavar="OUT", help="write decoded draws before and after here (.png, .pdf, .svg)")
    add_device(parser, trust="the checkpoint")
    options = parser.parse_args(arguments)
    _check_source(options)
    if Path(options.out).suffix not in ("", ".pt"):
        raise InputError(f"--out: {options.out} received; give a file that ends in .pt, or a folder")
    return options


def _check_source(options: argparse.Namespace) -> None:
    """Check that there is either a file, or an encoder with all that it needs."""
    pair = {name: getattr(options, name) for name in ("encoder", "decoder", "data", "latent_dim")}
    if (options.source is None) == (options.encoder is None):
        raise InputError("sculpt: give either a checkpoint or codes, or --encoder and --decoder")
    missing = [f"--{name.replace('_', '-')}" for name, value in pair.items() if value is None]
    if options.source is None and missing:
        raise InputError(f"--encoder: needs {' and '.join(missing)}; add it")
    if options.source is not None and (options.decoder or options.weights):
        raise InputError("--decoder, --weights: only for --encoder; leave them out")
