"""Result of LPS: the score, its statistics, and the settings they were computed with."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mmdprior.results import Result, finite_or_none, to_plain

__all__ = ["LPSResult"]

_LISTED = 8
"""Dimensions that the printed table lists."""


_COUNTS = ("groups", "test_groups", "block_length")
"""Fields that are None, not NaN, where they do not apply."""
_OLD_EXTRA = "beside"
"""Name of ``LPSResult.extra`` in the previous release."""


@dataclass(frozen=True)
class LPSResult(Result):
    """Latent Predictability Score with its statistics and settings.

    ``r2`` is on one scale for every predictor: 1 for perfect prediction, about 0 for none. ``measure`` names
    what it is. Statistics that were not requested are NaN or empty.

    Attributes:
        score: LPS, the mean over active dimensions of max(0, R2_i); NaN with fewer than two of them.
        max: largest R2_i over active dimensions, unclipped.
        r2: (d,) held-out R2_i, unclipped, averaged over folds and seeds; NaN for inactive dimensions.
        active: (d,) mask of active dimensions; the others are neither targets nor inputs.
        predictor: name of the predictor.
        measure: name of what ``r2`` is for this predictor.
        transform: transform of each dimension before the fit.
        mean_r2: mean of R2_i over active dimensions, unclipped.
        corrected_r2: ``mean_r2`` corrected for estimation error, as measured on shuffled copies.
        interval: 95 % interval of ``corrected_r2``, or of ``mean_r2`` without shuffled copies; NaN where too
            few test rows decide it, see ``warnings``. The corrected value is 1 minus the expected held-out
            error of predictors fitted on ``n_train`` rows, relative to their error on independent codes. It
            is 0 for independent codes of any number of rows and dimensions.
        p_value: p-value that no dimension depends on the others: the smallest of ``p_values`` times their
            number.
        p_values: (d,) p-value of every dimension, permuted over the test rows with the predictor fixed.
        null: chance level: score of column-shuffled copies of the codes through the same fits.
        null_r2: (d,) R2_i of the shuffled copies, averaged over them.
        extra: further (d,) numbers by name: ``plain_r2``, the R2 of the codes, next to a best-function R2;
            ``nats`` next to an information.
        information_bound: lower bound of total plus dual total correlation in nats, sum_i -1/2 log(1 - R2_i).
            It needs Gaussian marginals: NaN unless codes are rank-Gaussianised, with ties broken at random,
            or the predictor measures information.
        seed_scores: score of each predictor seed.
        effective_rank: effective rank of at most 10,000 test codes, before the transform.
        n_train: number of rows that each regressor was fitted on.
        n_validation: number of validation rows; 0 if the predictor uses none.
        n_test: number of rows that R2 was computed on, over all folds.
        folds: number of folds of cross-fitting; 1 for one split.
        copies: number of shuffled copies.
        permutations: number of permutations in each p-value.
        bootstrap: number of bootstrap draws in the interval.
        seed: seed of the split, copies, fits, permutations and bootstrap draws.
        groups: number of groups of dependent rows, or of blocks; None for independent rows.
        test_groups: number of groups that R2 was computed on, over all folds; rows count as groups if they
            are independent.
        block_length: rows per block, for rows in time order; otherwise None.
        warnings: properties of the codes that make the score doubtful, one sentence each.
        seconds: wall-clock time; not part of the JSON, so that equal scores give equal files.

    Example:
        >>> import torch
        >>> from mmdprior import LPSResult, lps
        >>> result = lps(torch.randn(100, 3))
        >>> result.active, result.n_train, result.n_test
        (array([ True,  True,  True]), 80, 20)
        >>> LPSResult.from_json(result.to_json()).score == result.score
        True
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
    groups: int | None = None
    test_groups: int | None = None
    block_length: int | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = field(default=math.nan, compare=False)

    @property
    def dim(self) -> int:
        """Number of dimensions d, active or not."""
        return len(self.r2)

    @property
    def excess(self) -> float:
        """Score minus the chance level, LPS - null."""
        return self.score - self.null

    @property
    def beside(self) -> Mapping[str, Float[np.ndarray, "d"]]:
        """Old name of ``extra``, which warns for one release."""
        warnings.warn(
            f"LPSResult.{_OLD_EXTRA} is now LPSResult.extra; the next release removes the old name",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.extra

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, NaN as None."""
        plain = {name: to_plain(value) for name, value in asdict(self).items() if name != "seconds"}
        plain["excess"] = finite_or_none(self.excess)
        return plain

    @staticmethod
    def from_json(text: str) -> "LPSResult":
        """Return the result that `to_json` wrote, in this or the previous release."""
        fields: dict[str, Any] = json.loads(text)
        del fields["excess"]
        if _OLD_EXTRA in fields:
            fields["extra"] = fields.pop(_OLD_EXTRA)
        for name in ("r2", "p_values", "null_r2"):
            fields[name] = np.array(fields[name], dtype=float)
        fields["active"] = np.array(fields["active"], dtype=bool)
        fields["extra"] = {name: np.array(v, dtype=float) for name, v in fields["extra"].items()}
        for name in ("interval", "seed_scores", "warnings"):
            fields[name] = tuple(math.nan if value is None else value for value in fields[name])
        counts = {name: fields.pop(name, None) for name in _COUNTS}
        values: dict[str, Any] = {k: math.nan if v is None else v for k, v in fields.items()} | counts
        return LPSResult(**values)

    def __float__(self) -> float:
        """Return the score."""
        return self.score

    def __str__(self) -> str:
        """Return a table of the score, its statistics and the protocol, or why there is no score."""
        if math.isnan(self.score):
            return self._without_score()
        title = (
            f"LPS {self.predictor}: {self.score:.4f}  mean of max(0, R2) over {int(self.active.sum())} of "
            f"{self.dim} dimensions active; R2 is {self.measure}"
        )
        rows = [
            ("max R2", f"{self.max:.4f}"),
            ("mean R2, unclipped", f"{self.mean_r2:.4f}"),
            *self._inference_rows(),
            *((f"mean {name}", f"{np.nanmean(v):.4f}") for name, v in self.extra.items() if _any_finite(v)),
        ]
        if math.isfinite(self.information_bound):
            rows.append(("information bound", f"{self.information_bound:.4f} nats"))
        rows.append(("effective rank", f"{self.effective_rank:.1f}"))
        rows += [("most predictable", self._top()), ("protocol", self._protocol())]
        if self.groups is not None:
            rows.append(("groups", self._grouping()))
        rows += [("warning", text) for text in self.warnings]
        return "\n".join([title, *(f"  {label:34} {text}" for label, text in rows)])

    def _without_score(self) -> str:
        title = f"LPS {self.predictor}: no score, {int(self.active.sum())} of {self.dim} dimensions active"
        return "\n".join([title, *(f"  {'warning':34} {text}" for text in self.warnings)])

    def _inference_rows(self) -> list[tuple[str, str]]:
        rows = []
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
        return rows

    def _top(self) -> str:
        order = np.argsort(-np.nan_to_num(self.r2, nan=-np.inf), kind="stable")[:_LISTED]
        return "  ".join(f"z{i} {self.r2[i]:.3f}" for i in order if self.active[i])

    def _grouping(self) -> str:
        if self.block_length is None:
            return f"{self.groups} groups of dependent rows, scored on {self.test_groups} of them"
        return f"{self.groups} blocks of {self.block_length} rows in time order"

    def _protocol(self) -> str:
        split = "one split 60/20/20" if self.folds == 1 else f"{self.folds} folds"
        stopping = f", validated on {self.n_validation}" if self.n_validation else ""
        seconds = f"; {self.seconds:.1f} s" if math.isfinite(self.seconds) else ""
        return (
            f"{self.transform}; {split}: fitted on {self.n_train}{stopping}, scored on {self.n_test}; "
            f"{len(self.seed_scores)} predictor seed(s), {self.copies} shuffled, seed {self.seed}{seconds}"
        )


def _any_finite(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())
