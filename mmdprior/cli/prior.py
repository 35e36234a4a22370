"""Draw a prior before training: a picture, its moments, and what the penalty can detect."""

from collections.abc import Sequence

from mmdprior.cli.options import picture_file, positive
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser, parse
from mmdprior.errors import InputError

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    parser.add_argument(
        "source", help="YAML config, target file.py:object, or a prior as in YAML: '{name: uniform}'"
    )
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to a config")
    parser.add_argument("--out", default="prior.png", help="picture: .png, .pdf or .svg")
    parser.add_argument("--dim", type=positive, help="dimensions of a prior that is no config (default: 2)")
    parser.add_argument("--n", type=positive, default=10_000, help="number of draws")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--power", action="store_true", help="simulate what the penalty detects")
    parser.add_argument(
        "--batch-size", type=positive, help="codes per batch for --power (default: the config's, or 256)"
    )
    parser.add_argument("--repeats", type=positive, default=200, help="batches for --power")


def main(arguments: Sequence[str]) -> int:
    """Draw the prior and print its moments; with ``--power``, simulate what the penalty detects."""
    options = parse("prior", add_options, arguments, __doc__)
    from mmdprior.build.prior_view import view_prior
    from mmdprior.figures.prior_figure import moments_table, pair_plot
    from mmdprior.regularizers.power import detection
    from mmdprior.seeding import stream

    check_outputs(options, [])
    view = view_prior(options.source, options.overrides, dim=options.dim, batch_size=options.batch_size)
    out = picture_file(options.out)
    draws = view.prior.sample(options.n, stream(options.seed, "look"))
    title = f"{type(view.prior).__name__}, d = {view.prior.dim}, {options.n} draws"
    out.parent.mkdir(parents=True, exist_ok=True)
    pair_plot(draws, title).savefig(out, dpi=150)
    print(moments_table(view.prior, draws))
    print(f"picture {out}")
    if options.power:
        if view.penalty is None:
            raise InputError("--power: the config has no mmd penalty; give one that has, or give the prior")
        print(view.penalty.describe())
        print(detection(view.penalty, n=view.batch_size, repeats=options.repeats, prior=view.prior))
    return 0
