"""The options of the score command, and which of them go together."""

import argparse
from collections.abc import Sequence
from typing import get_args

from mmdprior.cli.parser import Parser, positive
from mmdprior.errors import InputError
from mmdprior.metrics.protocol import Transform
from mmdprior.predictors import PREDICTORS

__all__ = ["parse"]


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Return the options.

    Raises:
        InputError: unknown ones, or some that do not go together.
    """
    parser = Parser("score", description=description)
    parser.add_argument("files", nargs="*", help="checkpoint, codes (.npy .npz .pt .csv), TorchScript, .pt2")
    parser.add_argument("--codes", help="a file with an (n, d) array of codes")
    parser.add_argument("--encoder", help="foreign encoder: package.module:Class or file.py:Class")
    parser.add_argument("--weights", help="its .pt state dict or .safetensors")
    parser.add_argument("--posterior", choices=("deterministic", "gaussian"), default="deterministic")
    parser.add_argument("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--predictor", nargs="+", choices=sorted(PREDICTORS), default=["linear", "mlp"])
    parser.add_argument("--limit", type=positive, help="rows, evenly spaced (10000 images, all codes)")
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument("--seed", type=int, default=0, help="of noise, split and predictors")
    parser.add_argument("--seeds", type=positive, default=1, help="fits a trained predictor is averaged over")
    parser.add_argument(
        "--folds", type=positive, default=1, help="cross-fit, so that (nearly) every row is scored"
    )
    parser.add_argument("--transform", choices=get_args(Transform), default="standardise")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", metavar="OUT", help="write the result here; by path for several files")
    parser.add_argument("--figures", metavar="DIR", help="write figures here, a folder an input")
    parser.add_argument("--trust", action="store_true", help="run targets in checkpoints and saved models")
    given = parser.parse_intermixed_args(arguments)
    if sum(map(bool, (given.files, given.codes, given.encoder))) != 1:
        raise InputError("score: give exactly one of files, --codes FILE, --encoder TARGET")
    if given.codes and (given.data or given.weights):
        raise InputError("--codes: --data and --weights do not go with codes; leave them out")
    if given.files and given.weights:
        raise InputError("--weights: a checkpoint has its own; leave it out, or give --encoder")
    return given
