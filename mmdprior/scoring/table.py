"""Table of several evaluations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmdprior.evaluation.evaluation import Evaluation
from mmdprior.naming import short_names
from mmdprior.results import Result

__all__ = ["ScoreTable"]

_STATISTICS = {
    "TC, ranks": "total_correlation_ranks",
    "cov. ratio": "covariance_ratio",
    "max MI": "mutual_information_max",
    "max dCor2": "distance_correlation_max",
    "dHSIC p": "dhsic_p_value",
    "units": "active_units",
    "rank": "effective_rank",
}
"""Columns of the second table, by heading."""
_NOTE = (
    "TC: total correlation of a Gaussian with the same covariance, in nats. MI: mutual information, in nats. "
    "cov. ratio: sum C_ii^2 / sum C_ij^2, our definition."
)


@dataclass
class ScoreTable(Result):
    """Scores of several inputs, with the errors of the inputs that failed.

    Attributes:
        results: evaluation per path.
        errors: error line per path.
    """

    results: dict[str, Evaluation] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return `Evaluation.to_dict` per path, and ``{"error": line}`` for inputs that failed."""
        plain: dict[str, object] = {path: result.to_dict() for path, result in self.results.items()}
        return plain | {path: {"error": line} for path, line in self.errors.items()}

    def __str__(self) -> str:
        """Return one row per input, representation and predictor, then one row of statistics per input."""
        names = short_names(list(self.results))
        width = max([len(name) for name in names.values()], default=4)
        errors = [r.reconstruction for r in self.results.values() if r.reconstruction is not None]
        names_of_quality = dict.fromkeys(name.upper() for error in errors for name in error.quality)
        quality = "/".join(names_of_quality) or "PSNR"
        lines = [
            f"{'file':{width}} codes  predictor        LPS     null       p      max   active{quality:>8}"
        ]
        statistics = [f"{'file':{width}} codes  {' '.join(f'{title:>11}' for title in _STATISTICS)}"]
        warnings = []
        for path, result in self.results.items():
            lines += [f"{names[path]:{width}} {row}" for row in _score_rows(result)]
            statistics += [f"{names[path]:{width}} {row}" for row in _statistics_rows(result)]
            supervised = result.disentanglement.warnings if result.disentanglement else ()
            warnings += [f"warning: {names[path]}: {text}" for text in (*result.warnings, *supervised)]
        if len(statistics) > 1:
            lines += ["", *statistics, _NOTE]
        lines += self._supervised_rows(names)
        return "\n".join([*lines, *warnings])

    def _supervised_rows(self, names: Mapping[str, str]) -> list[str]:
        """Return one row per supervised score with one column per input, or nothing without such scores."""
        scores = {path: r.disentanglement.scores for path, r in self.results.items() if r.disentanglement}
        if not scores:
            return []
        widths = {path: max(8, len(names[path])) for path in self.results}
        rows = ["", f"{'':20}" + "".join(f"  {names[path]:>{width}}" for path, width in widths.items())]
        for name in dict.fromkeys(name for values in scores.values() for name in values):
            cells = {path: scores.get(path, {}).get(name) for path in widths}
            texts = {path: "-" if value is None else f"{value:.4f}" for path, value in cells.items()}
            rows.append(f"{name:20}" + "".join(f"  {texts[path]:>{width}}" for path, width in widths.items()))
        return rows


def _score_rows(result: Evaluation) -> list[str]:
    error, quality = result.reconstruction, ""
    if error is not None:
        quality = f"{error.psnr:8.2f}" if error.r2 is None else f"{error.r2:8.4f}"
    active = f"{f'{result.active}/{result.dim}':>8}{quality}"
    return [
        f"{codes:6} {predictor:11} {r.score:8.4f} {r.null:8.4f} {r.p_value:7.4f} {r.max:8.4f} {active}"
        for (codes, predictor), r in result.lps.items()
    ]


def _statistics_rows(result: Evaluation) -> list[str]:
    rows = []
    for codes, independence in result.independence.items():
        scalars = independence.scalars()
        values = [scalars.get(name) for name in _STATISTICS.values()]
        cells = ["" if value is None else f"{value:.4f}".removesuffix(".0000") for value in values]
        rows.append(f"{codes:6} {' '.join(f'{cell:>11}' for cell in cells)}".rstrip())
    return rows
