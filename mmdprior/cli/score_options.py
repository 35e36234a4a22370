"""The options of the score command."""

from typing import get_args

from mmdprior.choices import PredictorName, SplitName, Transform
from mmdprior.cli.factor_options import add_factors
from mmdprior.cli.options import add_device, positive
from mmdprior.cli.parser import Parser
from mmdprior.cli.score_inputs import add_inputs

__all__ = ["add_options"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""
    add = parser.add_argument
    add_inputs(parser)
    add(
        "--split",
        choices=get_args(SplitName),
        help="split to score (default: test; all images of data without test images)",
    )
    add(
        "--predictor",
        nargs="+",
        choices=get_args(PredictorName),
        default=["linear", "mlp"],
        metavar="NAME",
        help="predictors of LPS",
    )
    add("--limit", type=positive, help="rows to score, evenly spaced (default: 10000 images, all codes)")
    add("--batch-size", type=positive, default=512, help="images per batch")
    add("--seed", type=int, default=0, help="seed of noise, split and predictors")
    add("--seeds", type=positive, default=1, help="predictor seeds to average over")
    add("--folds", type=positive, default=1, help="folds of cross-fitting; 1 is one split")
    add(
        "--transform",
        choices=get_args(Transform),
        default="standardise",
        help="transformation of each code dimension before LPS",
    )
    groups = "a column of the codes, a label of the images, a file with one label per row, or blocks"
    add("--groups", metavar="COLUMN|FILE", help=f"groups of dependent rows: {groups} for rows in time order")
    add("--block-length", type=positive, help="rows per block (default: estimated from the autocorrelation)")
    add_factors(parser)
    add("--json", metavar="OUT", help="write the scores here; keyed by path for several files")
    add("--rows", metavar="OUT", help="append the scores to this .jsonl file, which compare reads")
    add("--figures", metavar="DIR", help="write figures here, one folder per input")
    add_device(parser, trust="checkpoints and saved models")
