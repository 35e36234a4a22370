"""Encode images with a checkpoint: codes, and the labels or factors of the data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdprior.build.builder import choose_device
from mmdprior.build.data import split_to_score
from mmdprior.build.restore import config_of, model_from_checkpoint
from mmdprior.cli.parser import Parser, positive
from mmdprior.data import thin
from mmdprior.errors import InputError
from mmdprior.evaluation import encode
from mmdprior.training import read_checkpoint

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, encode, write one ``.npz``."""
    parser = Parser("encode", description=__doc__)
    parser.add_argument("checkpoint", help="a .pt file that training wrote")
    parser.add_argument("--out", required=True, help=".npz with mean, sample, log_var, labels, label_names")
    parser.add_argument("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--limit", type=positive, help="encode so many, evenly spaced")
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument("--seed", type=int, default=0, help="of the posterior noise")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    given = parser.parse_args(arguments)
    out = Path(given.out)
    if out.suffix != ".npz":
        raise InputError(f"--out: {given.out} received; give a file that ends in .npz")
    content = read_checkpoint(given.checkpoint)
    config = config_of(content, given.checkpoint, trust=given.trust)
    device = choose_device(given.device)
    model = model_from_checkpoint(content, config).to(device)
    images = split_to_score(config, given.data, given.split, tuple(content["image_shape"]))
    codes = encode(
        model,
        thin(images, given.limit),
        batch_size=given.batch_size,
        seed=given.seed,
        device=device,
    )
    arrays = {"mean": codes.latent.mean, "labels": codes.labels}
    if codes.latent.log_var is not None:
        arrays |= {"sample": codes.latent.sample, "log_var": codes.latent.log_var}
    out.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    np.savez(out, label_names=np.array(codes.label_names, dtype=str), **plain)  # type: ignore[arg-type]
    print(f"{len(codes.labels)} codes of {codes.latent.dim} dimensions in {out}")
    return 0
