"""Decode draws from the intended prior of a checkpoint, or from any other prior."""

from collections.abc import Sequence

from mmdprior.cli.labels import label_pairs
from mmdprior.cli.options import add_device, picture_file, positive
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser, parse
from mmdprior.errors import InputError

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    parser.add_argument("checkpoint", help="a checkpoint, or a run directory")
    parser.add_argument(
        "--prior", help="another prior: a name, '{name: uniform, low: -2}', or file.py:object"
    )
    help_ = "labels of a conditional prior, such as digit=3"
    parser.add_argument("--given", nargs="+", metavar="LABEL=VALUE", default=[], help=help_)
    parser.add_argument("--n", type=positive, default=64, help="number of draws")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--out", default="samples.png", help="picture: .png, .pdf or .svg")
    add_device(parser, trust="the checkpoint")


def main(arguments: Sequence[str]) -> int:
    """Sample the prior, decode the draws and write one picture."""
    options = parse("sample", add_options, arguments, __doc__)
    from mmdprior.build.prior_view import named_prior
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.figures import prior_samples
    from mmdprior.figures.images import image_figure, in_rows
    from mmdprior.figures.style import save_figure
    from mmdprior.priors import Given

    out = picture_file(options.out)
    check_outputs(options, [options.checkpoint])
    run = open_checkpoint(options.checkpoint, device=options.device, trust=options.trust)
    prior = run.prior if options.prior is None else named_prior(options.prior, run.prior.dim, "--prior")
    if prior.dim != run.prior.dim:
        raise InputError(f"--prior: dim {prior.dim} received; the latent of the model has {run.prior.dim}")
    title = ", ".join([f"{options.n} draws from {type(prior).__name__}", *options.given])
    if options.given:
        prior = Given(prior, label_pairs(options.given))
    images = prior_samples(run.model, prior, options.n, run.device, options.seed)
    figure = image_figure(in_rows(images), [], title=title)
    out.parent.mkdir(parents=True, exist_ok=True)
    print(save_figure(figure, out))
    return 0
