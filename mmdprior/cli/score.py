"""Score checkpoints, files of codes, saved models or an encoder of your own: LPS and related statistics."""

from collections.abc import Sequence
from pathlib import Path

from mmdprior.cli.encoder_options import encoder_options
from mmdprior.cli.factor_options import factor_scores
from mmdprior.cli.options import print_error
from mmdprior.cli.parser import parse
from mmdprior.cli.score_inputs import check, inputs
from mmdprior.cli.score_options import add_options

__all__ = ["add_options", "main"]

_SETTINGS = (
    *("data", "split", "limit", "batch_size", "seed", "device", "posterior", "trust"),
    *("groups", "block_length", "factors"),
)


def main(arguments: Sequence[str]) -> int:
    """Score the inputs, print a table, and write JSON, rows and figures where the options ask."""
    options = check(parse("score", add_options, arguments, __doc__))
    from mmdprior.columns import Columns
    from mmdprior.metrics import Protocol
    from mmdprior.scoring import Scorer, draw, score_files
    from mmdprior.scoring.rows import append_rows

    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings |= {"protocol": Protocol(options.transform, options.folds, options.seeds)}
    settings |= {"columns": Columns(options.columns, options.drop), "factor_scores": factor_scores(options)}
    scorer = Scorer(options.predictor, encoder_options=encoder_options(options), **settings)
    names, score = inputs(scorer, options)
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    if len(names) > 1:
        log = {"log": lambda line: print_error(f"error: {line}")}
        table = score_files(scorer, names, json=options.json, figures=options.figures, score=score, **log)
        print(table)
        failed, results = bool(table.errors), table.results
    else:
        (name,), failed = names, False
        result, codes = score(name)
        results = {name: result}
        print(result)
        if options.json:
            Path(options.json).write_text(result.to_json() + "\n")
        if options.figures:
            draw(options.figures, name, [name], result, codes)
    if options.rows:
        append_rows(options.rows, results, data=options.data, seed=options.seed)
    return 2 if failed else 0
