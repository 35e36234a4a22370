"""Decode draws from the intended prior of a checkpoint, or from any other prior."""

from collections.abc import Sequence

from mmdprior.cli.parser import Parser, add_device, picture_file, positive
from mmdprior.errors import InputError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Sample the prior, decode the draws and write one picture."""
    from mmdprior.build.prior_view import named_prior
    from mmdprior.build.restore import open_checkpoint
    from mmdprior.figures import prior_samples
    from mmdprior.figures.images import image_figure, in_rows
    from mmdprior.figures.style import save_figure

    parser = Parser("sample", description=__doc__)
    parser.add_argument("checkpoint", help="a checkpoint, or a run directory")
    parser.add_argument(
        "--prior", help="another prior: a name, '{name: uniform, low: -2}', or file.py:object"
    )
    parser.add_argument("--n", type=positive, default=64, help="number of draws (64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    parser.add_argument("--out", default="samples.png", help="picture: .png, .pdf or .svg (samples.png)")
    add_device(parser, trust="the checkpoint")
    options = parser.parse_args(arguments)
    out = picture_file(options.out)
    run = open_checkpoint(options.checkpoint, device=options.device, trust=options.trust)
    prior = run.prior if options.prior is None else named_prior(options.prior, run.prior.dim, "--prior")
    if prior.dim != run.prior.dim:
        raise InputError(f"--prior: dim {prior.dim} received; the latent of the model has {run.prior.dim}")
    images = prior_samples(run.model, prior, options.n, run.device, options.seed)
    figure = image_figure(in_rows(images), [], title=f"{options.n} draws from {type(prior).__name__}")
    out.parent.mkdir(parents=True, exist_ok=True)
    print(save_figure(figure, out))
    return 0
