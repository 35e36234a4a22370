"""Score several inputs: what fails is told and does not cost what succeeds."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmdprior.config.scoring import Scorer
from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes, Evaluation
from mmdprior.evaluation.comparison import Comparison, short_names
from mmdprior.reporting import save_figures

__all__ = ["draw", "survey"]


def survey(
    scorer: Scorer,
    paths: Sequence[str],
    *,
    out: str | None = None,
    figures: str | None = None,
    tell: Callable[[str], None] = print,
) -> Comparison:
    """Score every path; see `Scorer.file`.

    Args:
        scorer: how.
        paths: files; one named twice is scored once.
        out: a file of JSON, written anew after every input, so that an interruption costs one alone.
        figures: a folder of figures, with a folder an input.
        tell: is given the error line of every input that fails, when it fails.
    """
    found = Comparison()
    for path in dict.fromkeys(paths):
        try:
            found.results[path], codes = scorer.file(path)
            if figures is not None:
                draw(figures, path, paths, found.results[path], codes)
        except (InputError, OSError, RuntimeError, MemoryError) as error:
            text = " ".join(str(error).split()) if isinstance(error, InputError | OSError) else reason(error)
            found.errors[path] = text if path in text else f"{path}: {text}"
            tell(found.errors[path])
        if out is not None:
            Path(out).write_text(found.to_json() + "\n")
    return found


def draw(folder: str, path: str, paths: Sequence[str], result: Evaluation, codes: Codes) -> None:
    """Write the figures of one of several inputs into a folder of its own, named as in the table."""
    name = short_names(list(dict.fromkeys(paths)))[path].replace("/", "_")
    save_figures(result, codes, Path(folder) / name)
