"""Look at a prior before training: a picture, its moments, and what the penalty can see of it."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.build.prior_view import view_prior
from mmdprior.cli.parser import Parser, positive
from mmdprior.errors import InputError
from mmdprior.figures.prior_figure import moments_table, pair_plot
from mmdprior.regularizers.power import detection
from mmdprior.seeding import stream

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, draw, print the moments."""
    parser = Parser("prior", description=__doc__)
    parser.add_argument(
        "source", help="YAML config, target file.py:object, or a prior as in YAML: '{name: uniform}'"
    )
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to a config")
    parser.add_argument("--out", default="prior.png", help="picture (prior.png)")
    parser.add_argument("--dim", type=positive, help="dimensions of a prior that is named (2)")
    parser.add_argument("--n", type=positive, default=10_000, help="draws (10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--power", action="store_true", help="simulate what the penalty detects")
    parser.add_argument(
        "--batch-size", type=positive, help="codes a batch for --power (the config's, or 256)"
    )
    parser.add_argument("--repeats", type=positive, default=200, help="batches for --power (200)")
    given = parser.parse_intermixed_args(arguments)
    view = view_prior(given.source, given.overrides, dim=given.dim, batch_size=given.batch_size)
    out = Path(given.out)
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--out: {given.out} received; give a file that ends in .png, .pdf or .svg")
    draws = view.prior.sample(given.n, stream(given.seed, "look"))
    pair_plot(draws, f"{type(view.prior).__name__}, d = {view.prior.dim}, {given.n} draws").savefig(
        out, dpi=150
    )
    print(moments_table(view.prior, draws))
    print(f"picture {out}")
    if given.power:
        if view.penalty is None:
            raise InputError("--power: the config's penalty is no mmd; give one, or name the prior itself")
        print(view.penalty.describe())
        print(detection(view.penalty, n=view.batch_size, repeats=given.repeats, prior=view.prior))
    return 0
