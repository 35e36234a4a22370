"""Score a checkpoint, a foreign encoder, or a file of codes with LPS."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmdprior.config.build import choose_device, config_of, model_from_checkpoint, read_codes
from mmdprior.config.foreign import load_encoder
from mmdprior.config.sources import images_from, split_to_score
from mmdprior.errors import InputError
from mmdprior.evaluation import Codes, Evaluation, encode, evaluate, score_codes
from mmdprior.evaluation.lps import PREDICTORS, check_codes
from mmdprior.latent import Latent
from mmdprior.training import read_checkpoint

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, score, print a table, write JSON if asked."""
    parser = argparse.ArgumentParser("score", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a .pt file that training wrote")
    parser.add_argument("--codes", help=".npy, .npz or .pt with an (n, d) array of codes")
    parser.add_argument("--encoder", help="foreign encoder: package.module:Class or file.py:Class")
    parser.add_argument("--weights", help="its .pt state dict or .safetensors")
    parser.add_argument("--posterior", choices=("deterministic", "gaussian"), default="deterministic")
    parser.add_argument("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--predictor", nargs="+", choices=sorted(PREDICTORS), default=["linear", "mlp"])
    parser.add_argument("--limit", type=int, default=10_000, help="images encoded (10000)")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0, help="of noise, split and predictors")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", metavar="OUT", help="write the result here")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    given = parser.parse_args(arguments)
    if sum(source is not None for source in (given.checkpoint, given.codes, given.encoder)) != 1:
        raise InputError("score: give exactly one of a checkpoint, --codes FILE, --encoder TARGET")
    result = _score(given)
    print(result)
    if given.json:
        Path(given.json).write_text(result.to_json() + "\n")
    return 0


def _score(given: argparse.Namespace) -> Evaluation:
    device = choose_device(given.device)
    if given.codes is not None:
        z = check_codes(read_codes(given.codes)).to(device)
        return score_codes(Codes(Latent(z, z), z[:, :0], ()), given.predictor, seed=given.seed)
    common = {"limit": given.limit, "batch_size": given.batch_size, "seed": given.seed, "device": device}
    if given.encoder is not None:
        if given.data is None:
            raise InputError("--data: missing; a foreign encoder needs images to encode")
        images = images_from(given.data, given.split)
        model = load_encoder(given.encoder, given.weights, given.posterior, images.image_shape)
        return score_codes(encode(model.to(device), images, **common), given.predictor, seed=given.seed)
    content = read_checkpoint(given.checkpoint)
    config = config_of(content, given.checkpoint, trust=given.trust)
    model = model_from_checkpoint(content, config).to(device)
    images = split_to_score(config, given.data, given.split, tuple(content["image_shape"]))
    return evaluate(model, images, predictors=given.predictor, **common)[0]
