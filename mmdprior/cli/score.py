"""Score checkpoints, files of codes, saved models or an encoder of your own: LPS and related statistics."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.factor_options import factor_scores
from mmdprior.cli.options import print_error
from mmdprior.cli.parser import parse
from mmdprior.cli.score_options import add_options, check

__all__ = ["add_options", "main"]

_SETTINGS = (
    *("data", "split", "limit", "batch_size", "seed", "device", "posterior", "trust"),
    *("groups", "block_length", "factors"),
)


def main(arguments: Sequence[str]) -> int:
    """Score the inputs, print a table, and write JSON and figures where the options ask."""
    options = check(parse("score", add_options, arguments, __doc__))
    from mmdprior.columns import Columns
    from mmdprior.metrics import Protocol
    from mmdprior.scoring import Scorer, draw, score_files

    protocol = Protocol(options.transform, options.folds, options.seeds)
    settings = {name: getattr(options, name) for name in _SETTINGS}
    columns = Columns(options.columns, options.drop)
    settings |= {"protocol": protocol, "columns": columns, "factor_scores": factor_scores(options)}
    scorer = Scorer(options.predictor, **settings)
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    if len(options.files) > 1:
        table = score_files(
            scorer,
            options.files,
            json=options.json,
            figures=options.figures,
            log=lambda line: print_error(f"error: {line}"),
        )
        print(table)
        return 2 if table.errors else 0
    name = options.codes or options.encoder or options.files[0]
    if options.files:
        result, codes = scorer.file(name)
    else:
        result, codes = scorer.codes(name) if options.codes else scorer.encoder(name, options.weights)
    print(result)
    if options.json:
        Path(options.json).write_text(result.to_json() + "\n")
    if options.figures:
        draw(options.figures, name, [name], result, codes)
    return 0
