"""Several evaluations side by side."""

import json
from dataclasses import dataclass, field

from mmdprior.evaluation.evaluation import Evaluation
from mmdprior.naming import short_names
from mmdprior.results import Result

__all__ = ["ScoreTable"]

_COMPANIONS = {
    "TC, ranks": "total_correlation_ranks",
    "cov. ratio": "covariance_ratio",
    "max MI": "mutual_information_max",
    "max dCor2": "distance_correlation_max",
    "dHSIC p": "dhsic_p_value",
    "units": "active_units",
    "rank": "effective_rank",
}
_NOTE = (
    "TC: total correlation as if Gaussian, and MI: mutual information, in nats; cov. ratio: sum C_ii^2 / "
    "sum C_ij^2, our reading"
)


@dataclass
class ScoreTable(Result):
    """Scores of several inputs, and what went wrong with the others.

    Attributes:
        results: evaluations by path.
        errors: lines by path.
    """

    results: dict[str, Evaluation] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return what `Evaluation.to_dict` gives by path, and ``{"error": line}`` for what failed."""
        plain: dict[str, object] = {path: result.to_dict() for path, result in self.results.items()}
        return plain | {path: {"error": line} for path, line in self.errors.items()}

    def to_json(self) -> str:
        """Return the comparison as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """A row a set of codes and predictor, then the companions, a row a set of codes."""
        names = short_names(list(self.results))
        wide = max([len(name) for name in names.values()], default=4)
        lines = [f"{'file':{wide}} codes  predictor        LPS     null       p      max   active    PSNR"]
        beside = [f"{'file':{wide}} codes  {' '.join(f'{title:>11}' for title in _COMPANIONS)}"]
        for path, result in self.results.items():
            lines += [f"{names[path]:{wide}} {row}" for row in _scores(result)]
            beside += [f"{names[path]:{wide}} {row}" for row in _companions(result)]
        warned = [
            f"warning: {names[path]}: {text}" for path, r in self.results.items() for text in r.warnings
        ]
        return "\n".join([*lines, *([] if len(beside) == 1 else ["", *beside, _NOTE]), *warned])


def _scores(result: Evaluation) -> list[str]:
    psnr = "" if result.reconstruction is None else f"{result.reconstruction.psnr:8.2f}"
    end = f"{f'{result.active}/{result.dim}':>8}{psnr}"
    return [
        f"{codes:6} {predictor:11} {r.score:8.4f} {r.null:8.4f} {r.p_value:7.4f} {r.max:8.4f} {end}"
        for (codes, predictor), r in result.lps.items()
    ]


def _companions(result: Evaluation) -> list[str]:
    rows = []
    for codes, found in result.independence.items():
        numbers = found.scalars()
        values = [numbers.get(name) for name in _COMPANIONS.values()]
        cells = ["" if value is None else f"{value:.4f}".removesuffix(".0000") for value in values]
        rows.append(f"{codes:6} {' '.join(f'{cell:>11}' for cell in cells)}".rstrip())
    return rows
