"""Give a checkpoint or a file of codes another prior by an invertible map. PSNR does not change."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, add_device, positive, print_error
from mmdprior.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Fit the map, write it, and print scores of held-out codes before and after."""
    parser = Parser("sculpt", description=__doc__)
    add = parser.add_argument
    add("source", help="a checkpoint or run directory, or codes (.npy .npz .csv)")
    add("--prior", help="a prior: a name, '{name: uniform, low: -2}', or file.py:object (the checkpoint's)")
    add("--out", required=True, help=".pt file: a checkpoint, or the map of a file of codes")
    add("--steps", type=positive, default=1000, help="updates of the fit (1000)")
    add("--layers", type=positive, default=8, help="couplings (8)")
    add("--noise", type=float, default=0.05, help="noise on whitened codes in the fit (0.05)")
    add("--transport", type=float, default=0.0, help="weight that keeps dimensions where they are (0)")
    add("--objective", choices=("auto", "likelihood", "two_maps", "mmd", "sliced"), default="auto")
    add("--dequantize", action="store_true", help="spread the values of a prior with atoms over cells")
    add("--predictor", nargs="+", default=["linear", "additive", "mlp", "information"], help="of LPS")
    add("--spatial", choices=("channels", "flatten"), help="how to read codes with more than two axes")
    add("--data", help="other images than those of the checkpoint: a folder, .npz, .npy, or YAML")
    add("--limit", type=positive, help="training images to encode, evenly spaced (200000)")
    add("--seed", type=int, default=0, help="seed of everything random (0)")
    add("--json", metavar="OUT", help="write the scores and the fit here")
    add("--figure", metavar="OUT", help="write decoded draws before and after here (.png, .pdf, .svg)")
    add_device(parser, trust="the checkpoint")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    if out.suffix != ".pt":
        raise InputError(f"--out: {options.out} received; give a file that ends in .pt")
    from mmdprior.scoring.sculpt import sculpt

    result = sculpt(options, out, lambda line: print_error(line))
    print(result)
    if options.json:
        Path(options.json).write_text(result.to_json() + "\n")
    return 0
