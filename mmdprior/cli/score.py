"""Score a checkpoint, a foreign encoder, or a file of codes with LPS."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.parser import Parser, positive
from mmdprior.config.scoring import Scorer
from mmdprior.errors import InputError
from mmdprior.evaluation.lps import PREDICTORS

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, score, print a table, write JSON if asked."""
    parser = Parser("score", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a .pt file that training wrote")
    parser.add_argument("--codes", help=".npy, .npz or .pt with an (n, d) array of codes")
    parser.add_argument("--encoder", help="foreign encoder: package.module:Class or file.py:Class")
    parser.add_argument("--weights", help="its .pt state dict or .safetensors")
    parser.add_argument("--posterior", choices=("deterministic", "gaussian"), default="deterministic")
    parser.add_argument("--data", help="other images: a folder, .npz, .npy, or a YAML data section")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--predictor", nargs="+", choices=sorted(PREDICTORS), default=["linear", "mlp"])
    parser.add_argument("--limit", type=positive, default=10_000, help="images, evenly spaced (10000)")
    parser.add_argument("--batch-size", type=positive, default=512)
    parser.add_argument("--seed", type=int, default=0, help="of noise, split and predictors")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", metavar="OUT", help="write the result here")
    parser.add_argument("--trust", action="store_true", help="run targets named in the checkpoint")
    given = parser.parse_args(arguments)
    if sum(source is not None for source in (given.checkpoint, given.codes, given.encoder)) != 1:
        raise InputError("score: give exactly one of a checkpoint, --codes FILE, --encoder TARGET")
    if given.codes and (given.data or given.weights):
        raise InputError("--codes: --data and --weights do not go with codes; leave them out")
    if given.checkpoint and given.weights:
        raise InputError("--weights: a checkpoint has its own; leave it out, or give --encoder")
    scorer = Scorer(
        given.predictor, given.data, given.split, given.limit, given.batch_size, given.seed, given.device
    )
    if given.codes is not None:
        result = scorer.codes(given.codes)
    elif given.encoder is not None:
        result = scorer.encoder(given.encoder, given.weights, given.posterior)
    else:
        result = scorer.checkpoint(given.checkpoint, trust=given.trust)
    print(result)
    if given.json:
        Path(given.json).write_text(result.to_json() + "\n")
    return 0
