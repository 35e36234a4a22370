"""Score checkpoints, files of codes, saved models or a foreign encoder with LPS and its companions."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.score_options import parse
from mmdprior.metrics import Protocol
from mmdprior.scoring.score import Scorer, draw, survey

__all__ = ["main"]

_SETTINGS = ("data", "split", "limit", "batch_size", "seed", "device", "posterior", "trust")


def main(arguments: Sequence[str]) -> int:
    """Parse arguments, score, print a table, write JSON and figures if asked."""
    given = parse(arguments, __doc__)
    protocol = Protocol(given.transform, given.folds, given.seeds)
    settings = {name: getattr(given, name) for name in _SETTINGS}
    scorer = Scorer(given.predictor, **settings, protocol=protocol)
    if given.json:
        Path(given.json).parent.mkdir(parents=True, exist_ok=True)
    if len(given.files) > 1:
        found = survey(scorer, given.files, out=given.json, figures=given.figures, log=_tell)
        print(found)
        return 2 if found.errors else 0
    name = given.codes or given.encoder or given.files[0]
    if given.files:
        result, codes = scorer.file(name)
    else:
        result, codes = scorer.codes(name) if given.codes else scorer.encoder(name, given.weights)
    print(result)
    if given.json:
        Path(given.json).write_text(result.to_json() + "\n")
    if given.figures:
        draw(given.figures, name, [name], result, codes)
    return 0


def _tell(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
