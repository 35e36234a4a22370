"""What a score says, how sure it is, and what went into it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mmdprior.results import Result, finite_or_none, to_plain

__all__ = ["LPSResult"]

_SHOWN = 8


@dataclass(frozen=True)
class LPSResult(Result):
    """The score and everything that went into it.

    ``r2`` is on one scale for every predictor, 0 to 1; see ``measure``. What was not asked for is NaN
    or empty.

    Attributes:
        score: mean over active dimensions of max(0, R2_i); NaN with fewer than two active.
        max: largest R2_i over active dimensions, unclipped.
        r2: held-out R2_i, unclipped, averaged over folds and seeds; NaN for inactive dimensions.
        active: dimensions that vary; the others are neither targets nor inputs.
        predictor: name of the regressor.
        measure: what R2 is for this predictor.
        transform: what was done to each dimension before.
        mean_r2: mean of R2_i over active dimensions, unclipped.
        corrected_r2: the same freed of estimation error, by what the shuffled copies show of it.
        interval: 95 % bootstrap interval of ``corrected_r2``; without shuffled copies, of ``mean_r2``.
        p_value: that no dimension depends on the others: the least of ``p_values`` times their number.
        p_values: of every dimension, by permuting it over the test rows, predictor fixed.
        null: score of column-shuffled copies of the codes through the same fits: what chance gives.
        null_r2: mean over the copies of their R2_i.
        extra: further numbers a dimension, by name: ``plain_r2`` of the codes themselves
            beside a best-function R2, ``nats`` beside an information.
        information_bound: lower bound in nats of total plus dual total correlation, sum_i -1/2 log(1 -
            R2_i); it needs Gaussian marginals, so rank-Gaussianised codes, or the predictor of information.
        seed_scores: the score under each predictor seed alone.
        effective_rank: of the test codes before the transform, up to 10,000 of them.
        n_train: rows each regressor was fitted on.
        n_validation: rows that it was stopped or chosen by; 0 where none were.
        n_test: rows that R2 was computed on, all folds together.
        folds: of cross-fitting; 1 for one split.
        copies: shuffled copies.
        permutations: in each p-value.
        bootstrap: draws in the interval.
        seed: of the split, the copies, the regressors, the permutations and the draws.
        warnings: what a reader should know about the codes.
        seconds: that all this took; not in the JSON, which is the same whenever it is written.
    """

    score: float
    max: float
    r2: Float[np.ndarray, "d"]
    active: Bool[np.ndarray, "d"]
    predictor: str
    measure: str
    transform: str
    mean_r2: float
    corrected_r2: float
    interval: tuple[float, float]
    p_value: float
    p_values: Float[np.ndarray, "d"]
    null: float
    null_r2: Float[np.ndarray, "d"]
    extra: Mapping[str, Float[np.ndarray, "d"]]
    information_bound: float
    seed_scores: tuple[float, ...]
    effective_rank: float
    n_train: int
    n_validation: int
    n_test: int
    folds: int
    copies: int
    permutations: int
    bootstrap: int
    seed: int
    warnings: tuple[str, ...] = ()
    seconds: float = field(default=math.nan, compare=False)

    @property
    def dim(self) -> int:
        """Number of dimensions d, active or not."""
        return len(self.r2)

    @property
    def excess(self) -> float:
        """LPS - null: the score less what chance gives."""
        return self.score - self.null

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, NaN as None, ready for JSON."""
        plain = {name: to_plain(value) for name, value in asdict(self).items() if name != "seconds"}
        plain["excess"] = finite_or_none(self.excess)
        return plain

    @staticmethod
    def from_json(text: str) -> "LPSResult":
        """Return the result that `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        del found["excess"]
        for name in ("r2", "p_values", "null_r2"):
            found[name] = np.array(found[name], dtype=float)
        found["active"] = np.array(found["active"], dtype=bool)
        found["extra"] = {name: np.array(v, dtype=float) for name, v in found["extra"].items()}
        for name in ("interval", "seed_scores", "warnings"):
            found[name] = tuple(math.nan if value is None else value for value in found[name])
        given: dict[str, Any] = {name: math.nan if v is None else v for name, v in found.items()}
        return LPSResult(**given)

    def __str__(self) -> str:
        """A table for people."""
        lines = [
            f"LPS {self.predictor}: {self.score:.4f}  mean of max(0, R2) over {int(self.active.sum())} of "
            f"{self.dim} dimensions active; R2 is {self.measure}"
        ]
        rows = [("max R2", f"{self.max:.4f}"), ("mean R2, unclipped", f"{self.mean_r2:.4f}")]
        name = "mean R2"
        if self.copies:
            rows.append(("LPS of shuffled codes", f"{self.null:.4f}  so LPS - null {self.excess:.4f}"))
            rows.append(("mean R2, corrected", f"{self.corrected_r2:.4f}  for estimation error"))
            name += ", corrected"
        if self.bootstrap:
            rows.append((f"  95% interval of {name}", "{:.4f} to {:.4f}".format(*self.interval)))
        if self.permutations:
            rows.append(("p-value of independence", f"{self.p_value:.4f}  {self.permutations} permutations"))
        if len(self.seed_scores) > 1:
            rows.append(("LPS by predictor seed", " ".join(f"{score:.4f}" for score in self.seed_scores)))
        rows += [(f"mean {key}", f"{np.nanmean(value):.4f}") for key, value in self._extra()]
        if math.isfinite(self.information_bound):
            rows.append(("information bound", f"{self.information_bound:.4f} nats"))
        rows.append(("effective rank", f"{self.effective_rank:.1f}"))
        rows += [("most predictable", self._top()), ("protocol", self._protocol())]
        rows += [("warning", text) for text in self.warnings]
        return "\n".join([*lines, *(f"  {label:34} {text}" for label, text in rows)])

    def _extra(self) -> list[tuple[str, np.ndarray]]:
        return [(name, values) for name, values in self.extra.items() if np.isfinite(values).any()]

    def _top(self) -> str:
        order = np.argsort(-np.nan_to_num(self.r2, nan=-np.inf), kind="stable")[:_SHOWN]
        return "  ".join(f"z{i} {self.r2[i]:.3f}" for i in order if self.active[i])

    def _protocol(self) -> str:
        split = "one split 60/20/20" if self.folds == 1 else f"{self.folds} folds"
        stopped = f", stopped by {self.n_validation}" if self.n_validation else ""
        taken = f"; {self.seconds:.1f} s" if math.isfinite(self.seconds) else ""
        return (
            f"{self.transform}; {split}: fitted on {self.n_train}{stopped}, scored on {self.n_test}; "
            f"{len(self.seed_scores)} predictor seed(s), {self.copies} shuffled, seed {self.seed}{taken}"
        )
