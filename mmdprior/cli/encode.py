"""Encode images with the model of a checkpoint; write codes and labels to one .npz file."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from mmdprior.choices import SplitName
from mmdprior.cli.options import add_device, positive
from mmdprior.cli.parser import Parser, parse
from mmdprior.errors import InputError

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    parser.add_argument("checkpoint", help="a checkpoint file (.pt), or a run directory")
    parser.add_argument("--out", required=True, help=".npz with mean, sample, log_var, labels, label_names")
    parser.add_argument("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    parser.add_argument(
        "--split",
        choices=get_args(SplitName),
        help="images (default: test, or all of other data without test images)",
    )
    parser.add_argument("--limit", type=positive, help="images to encode, evenly spaced (default: all)")
    parser.add_argument("--batch-size", type=positive, default=512, help="images per batch")
    parser.add_argument("--seed", type=int, default=0, help="seed of the posterior noise")
    add_device(parser, trust="the checkpoint")


def main(arguments: Sequence[str]) -> int:
    """Encode a split of the checkpoint's data, or other images, and write the arrays."""
    options = parse("encode", add_options, arguments, __doc__)
    import numpy as np

    from mmdprior.build.restore import open_checkpoint
    from mmdprior.evaluation import encode

    out = Path(options.out)
    if out.suffix != ".npz":
        raise InputError(f"--out: {options.out} received; give a file that ends in .npz")
    run = open_checkpoint(options.checkpoint, device=options.device, trust=options.trust)
    codes = encode(
        run.model,
        run.images(options.data, options.limit, split=options.split),
        batch_size=options.batch_size,
        seed=options.seed,
        device=run.device,
    )
    arrays = {"mean": codes.latent.mean, "labels": codes.labels}
    if codes.latent.log_var is not None:
        arrays |= {"sample": codes.latent.sample, "log_var": codes.latent.log_var}
    out.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez(out, label_names=np.array(codes.label_names, dtype=str), **plain)  # type: ignore[arg-type]
    print(f"{len(codes.labels)} codes of {codes.latent.dim} dimensions in {out}")
    return 0
