"""Encode images with a checkpoint or another encoder; write codes and labels to one .npz file."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from mmdprior.choices import SplitName
from mmdprior.cli.encoder_options import add_encoder, encoder_options
from mmdprior.cli.options import add_device, positive
from mmdprior.cli.outputs import check_outputs
from mmdprior.cli.parser import Parser, parse
from mmdprior.errors import InputError

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add("checkpoint", nargs="?", help="a checkpoint file (.pt), or a run directory")
    add_encoder(parser)
    add("--out", required=True, help=".npz with mean, sample, log_var, labels, label_names")
    add("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    split = "split to encode (default: test; all images of data without test images)"
    add("--split", choices=get_args(SplitName), help=split)
    add("--limit", type=positive, help="images to encode, evenly spaced (default: all)")
    add("--batch-size", type=positive, default=512, help="images per batch")
    add("--seed", type=int, default=0, help="seed of the posterior noise")
    add_device(parser, trust="the checkpoint")


def main(arguments: Sequence[str]) -> int:
    """Encode a split of the checkpoint's data, or other images, and write the arrays."""
    options = parse("encode", add_options, arguments, __doc__)
    if Path(options.out).suffix != ".npz":
        raise InputError(f"--out: {options.out} received; give a file that ends in .npz")
    check_outputs(options, [options.checkpoint, options.data, *options.weights])
    if (options.checkpoint is None) == (options.encoder is None) or len(options.weights) > 1:
        raise InputError(
            "encode: give either a checkpoint, or --encoder TARGET with at most one --weights FILE"
        )
    settings = {name: getattr(options, name) for name in ("batch_size", "seed", "device")}
    if options.encoder is not None:
        from mmdprior.scoring import Scorer

        settings |= {name: getattr(options, name) for name in ("data", "split", "limit", "posterior")}
        scorer = Scorer(encoder_options=encoder_options(options), **settings)
        codes = scorer.encode(options.encoder, *options.weights)
    else:
        from mmdprior.build.restore import open_checkpoint
        from mmdprior.evaluation import encode

        run = open_checkpoint(options.checkpoint, device=options.device, trust=options.trust)
        images = run.images(options.data, options.limit, split=options.split)
        codes = encode(run.model, images, **settings | {"device": run.device})
    codes.save(options.out)
    print(f"{len(codes.labels)} codes of {codes.latent.dim} dimensions in {options.out}")
    return 0
