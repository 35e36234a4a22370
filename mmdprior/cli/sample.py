"""Decode draws from a checkpoint's intended prior, or from any other."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, positive
from mmdprior.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, draw, decode, write one picture."""
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.figures import prior_samples
    from mmdprior.figures.images import image_figure, in_rows
    from mmdprior.figures.style import save_pixels

    parser = Parser("sample", description=__doc__)
    parser.add_argument("checkpoint", help="a checkpoint, or a run directory")
    parser.add_argument("--prior", help="a name, '{name: uniform, low: -2}', or file.py:object")
    parser.add_argument("--n", type=positive, default=64, help="draws (64)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--out", default="samples.png", help="picture: .png, .pdf or .svg (samples.png)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    given = parser.parse_args(arguments)
    out = Path(given.out)
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--out: {given.out} received; give a file that ends in .png, .pdf or .svg")
    opened = open_checkpoint(given.checkpoint, device=given.device, trust=given.trust)
    prior = opened.prior if given.prior is None else opened.other_prior(given.prior)
    images = prior_samples(opened.model, prior, given.n, opened.device, given.seed)
    figure = image_figure(in_rows(images), [], title=f"{given.n} draws from {type(prior).__name__}")
    out.parent.mkdir(parents=True, exist_ok=True)
    print(save_pixels(figure, out))
    return 0
