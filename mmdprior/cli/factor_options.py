"""The options of supervised scores."""

import argparse
from typing import get_args

from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError
from mmdprior.evaluation import FactorScores
from mmdprior.metrics import SupervisedProtocol
from mmdprior.metrics.supervised.factors import Kind
from mmdprior.metrics.supervised.scores import SCORES, available_scores
from mmdprior.metrics.supervised.table import PROBES

__all__ = ["add_factors", "factor_scores"]


def add_factors(parser: Parser) -> None:
    """Add the options of supervised scores to a parser."""
    add = parser.add_argument
    add(
        "--factors",
        metavar="FILE[:KEY]",
        help="factors of variation for supervised scores, in the order of the scored rows: an array of a "
        ".npz, .npy, .h5 or .pt file, or columns of a table; none for no scores (the factors of the data)",
    )
    add("--scores", nargs="+", metavar="NAME", help=f"supervised scores: {', '.join(SCORES)} (all)")
    add(
        "--kinds",
        nargs="+",
        default=[],
        metavar="FACTOR=KIND",
        help=f"kinds of factors: {', '.join(get_args(Kind))} (detected)",
    )
    add("--probe", choices=PROBES, help="classifier of the DCI scores (histogram)")


def factor_scores(options: argparse.Namespace) -> FactorScores | None:
    """Return the supervised scores that the options name; None if they name none.

    Raises:
        InputError: the name of a score or a kind is unknown.
    """
    for name in options.scores or ():
        if name not in SCORES:
            raise InputError(f"--scores: {name!r} received; expected some of {', '.join(SCORES)}")
    kinds = {}
    for pair in options.kinds:
        factor, _, kind = pair.rpartition("=")
        if not factor or kind not in get_args(Kind):
            kinds_text = ", ".join(get_args(Kind))
            raise InputError(f"--kinds: {pair!r} received; give FACTOR=KIND with a kind of {kinds_text}")
        kinds[factor] = kind
    if not (options.scores or kinds or options.probe):
        return None
    protocol = SupervisedProtocol(probe=options.probe or "histogram")
    return FactorScores(options.scores or available_scores(), kinds, protocol)
