"""The options of supervised scores."""

import argparse
from typing import TYPE_CHECKING, get_args

from mmdprior.choices import FactorKind, Probe, ScoreName
from mmdprior.cli.parser import Parser
from mmdprior.errors import InputError

if TYPE_CHECKING:
    from mmdprior.evaluation import FactorScores

__all__ = ["add_factors", "factor_scores"]


def add_factors(parser: Parser) -> None:
    """Add the options of supervised scores to a parser."""
    add = parser.add_argument
    add(
        "--factors",
        metavar="FILE[:KEY]",
        help="factors of variation for supervised scores, in the order of the scored rows: an array of a "
        ".npz, .npy, .h5 or .pt file, or columns of a table; none for no scores (default: those of the data)",
    )
    add(
        "--scores",
        nargs="+",
        metavar="NAME",
        help=f"supervised scores: {', '.join(get_args(ScoreName))} (default: all)",
    )
    add(
        "--kinds",
        nargs="+",
        default=[],
        metavar="FACTOR=KIND",
        help=f"kinds of factors: {', '.join(get_args(FactorKind))} (default: detected)",
    )
    add("--probe", choices=get_args(Probe), help="classifier of the DCI scores (default: histogram)")


def factor_scores(options: argparse.Namespace) -> "FactorScores | None":
    """Return the supervised scores that the options name, or None; unknown names raise `InputError`."""
    from mmdprior.evaluation import FactorScores
    from mmdprior.metrics import SupervisedProtocol
    from mmdprior.metrics.supervised.scores import available_scores

    for name in set(options.scores or ()).difference(get_args(ScoreName)):
        raise InputError(f"--scores: {name!r} received; expected some of {', '.join(get_args(ScoreName))}")
    kinds = {}
    for pair in options.kinds:
        factor, _, kind = pair.rpartition("=")
        if not factor or kind not in get_args(FactorKind):
            kinds_text = ", ".join(get_args(FactorKind))
            raise InputError(f"--kinds: {pair!r} received; give FACTOR=KIND with a kind of {kinds_text}")
        kinds[factor] = kind
    if not (options.scores or kinds or options.probe):
        return None
    probe = SupervisedProtocol(probe=options.probe or "histogram")
    return FactorScores(options.scores or available_scores(), kinds, probe)
