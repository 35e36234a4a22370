"""LPS, the Latent Predictability Score: how well each code dimension is predicted from the others."""

import math
import time
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmdprior.errors import InputError, check_integer, shorten
from mmdprior.metrics.activity import ActiveLike, effective_rank, select_dimensions
from mmdprior.metrics.checks import check_codes, code_warnings
from mmdprior.metrics.covariance import random_rows, tie_variance
from mmdprior.metrics.group_labels import GroupLabels, make_grouping
from mmdprior.metrics.grouping import Grouping
from mmdprior.metrics.inference import ScoreStatistics
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.intervals import COPIES, INFORMATIVE_ROWS, MIN_INFORMATIVE_ROWS, too_rare
from mmdprior.metrics.protocol import Protocol, Split, Transform, fit_problems
from mmdprior.metrics.result import LPSResult
from mmdprior.metrics.row_checks import grouping_warnings, row_warnings
from mmdprior.metrics.scaling import unit_scale
from mmdprior.predictors import PREDICTORS, Predictor

__all__ = ["find_predictor", "lps", "undefined_lps"]

_RANK_ROWS = 10_000
"""Test rows that the effective rank is computed on."""
_TIE_ROWS = 20_000
"""Rows in which ties are counted, for the information bound of ranks."""
_REFITTED_COLUMNS, _REFITTED_ENTRIES = 32, 1 << 17
"""Largest codes whose shuffled copies are raised to 39 without being asked for: a few seconds."""


def lps(
    codes: CodesLike,
    predictor: str | Predictor = "linear",
    *,
    seed: int = 0,
    active: ActiveLike = None,
    transform: Transform = "standardise",
    folds: int = 1,
    seeds: int = 1,
    null: int = 1,
    permutations: int = 199,
    bootstrap: int = 999,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> LPSResult:
    """Score how well every code dimension is predicted from the other dimensions on held-out codes.

    LPS = mean_i max(0, R2_i), where R2_i = 1 - sum (z_i - prediction)^2 / sum (z_i - mean)^2 over test rows:
    0 for independent codes, 1 for fully predictable ones. Rows are split at random into 60 % training, 20 %
    validation and 20 % test. The paper (arXiv 2510.11953) averages the predictability of a regression model
    without stating its normalisation, so this normalisation is ours.

    A score depends on the predictor's class, and no class sees every dependence: `mmdprior.metrics` has a
    README with a table. Predictors that do not score R2 have another ``measure`` on the same scale.

    The result also holds:

    - the chance level: the score of column-shuffled copies of the codes through the same fits;
    - an exact p-value of independence: z_i is permuted over the test rows with the predictor fixed, with
      Bonferroni's correction over dimensions;
    - a 95 % interval of the mean R2_i, corrected for estimation error. A held-out R2 is too low because the
      predictor is estimated, and the shuffled copies measure by how much. For exact predictors (linear,
      additive) the corrected value estimates that of the population. Networks and mixtures, which are
      stopped early, stay below it with few codes. The interval comes from the bootstrap. Where fewer than
      about 20 test rows decide the result, exact predictors refit 39 shuffled copies for it; others have
      no interval below about 5. A warning then names the number of rows needed, as it does for columns that
      hardly vary over the test rows;
    - the score of each predictor seed.

    Rows that repeat a sample (augmented views, frames of a video, patches, visits of a patient) are not
    independent. A random split then puts copies of training rows into the test rows, and scores independent
    codes near 1. With ``groups``, rows of one group stay in one part of the split, and shuffles, permutations
    and the bootstrap move whole groups. P-values are exact for groups of equal size, and for other sizes if a
    part of a larger group is distributed as a smaller group. With ``groups="blocks"``, rows are in time
    order: parts are stretches of rows with gaps of two blocks between them, copies and permutations are
    shifts in time, and the bootstrap moves blocks. P-values and intervals then hold for stationary rows that
    are much longer than their autocorrelation.

    Args:
        codes: (n, d) codes, one row per sample: a tensor, an array, nested lists, a data frame, or any object
            with ``__dlpack__`` or ``__array__``.
        predictor: name in `PREDICTORS`, or an instance of your own `Predictor` class.
        seed: seed of the split, the shuffled copies, the fits, the permutations and the bootstrap.
        active: dimensions to score, as d booleans or as indices; by default `active_dimensions` of the codes.
            For samples of a stochastic encoder, pass `active_dimensions` of its `Latent`. Constant
            dimensions are never scored.
        transform: transform of each dimension, fitted on training rows: ``standardise``, ``rank_gaussian``
            or ``none``.
        folds: 1 for one split, or K for cross-fitting with K folds.
        seeds: number of predictor seeds to average over.
        null: smallest number of shuffled copies; 0 for no chance level and no correction.
        permutations: smallest number of permutations; 0 for no p-value.
        bootstrap: number of bootstrap draws in the interval; 0 for no interval.
        groups: (n,) label of the group of every row, numbers or text; ``"blocks"`` for rows in time order;
            None for independent rows.
        block_length: rows per block for ``groups="blocks"``; None estimates it from the autocorrelation
            (`mmdprior.metrics.block_length`).

    Returns:
        The score with its statistics. ``print`` shows a table.

    Raises:
        InputError: codes are not numeric, not (n, d) with d >= 2, not finite, or have fewer than
            max(30, d + 2) rows; predictor or transform is unknown; a count is out of range; or ``groups``
            has not one label per row, or too few groups to split.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> z = torch.randn(2000, 3)
        >>> lps(z, "linear").score < 0.01
        True
        >>> z[:, 2] = z[:, 0].square()
        >>> lps(z, "linear").score < 0.05, lps(z, "additive").score > 0.6
        (True, True)
    """
    start = time.perf_counter()
    z = check_codes(codes)
    name, model = find_predictor(predictor)
    seed = check_integer("seed", seed, None)
    protocol = Protocol(transform, folds, seeds, null, permutations, bootstrap)
    mask = select_dimensions(z, active)
    texts = code_warnings(codes, z, mask)
    grouping = make_grouping(groups, block_length, z[:, mask])
    splits = grouping.split(folds, seed, model.uses_validation)
    doubts, inferential = grouping_warnings(grouping, splits, int(mask.sum()))
    texts += doubts
    if not inferential:
        protocol = replace(protocol, permutations=0, bootstrap=0)
    statistics = ScoreStatistics(protocol, splits, seed, [grouping.layout(split.test) for split in splits])
    if int(mask.sum()) >= 2:
        used = unit_scale(z if bool(mask.all()) else z[:, mask])
        texts += row_warnings(used, splits[0], grouping)
        _fit(statistics, used, mask.nonzero().flatten().tolist(), model, grouping)
    else:
        texts += (
            f"{int(mask.sum())} of {len(mask)} dimensions active: no score, because predicting one from the "
            "others needs 2",
        )
    if statistics.no_interval:
        texts += (statistics.no_interval,)
    for text in texts:
        warnings.warn(f"codes: {text}", stacklevel=2)
    ties = (
        tie_variance(random_rows(z, _TIE_ROWS, seed, "ties")[:, mask]).cpu()
        if transform == "rank_gaussian"
        else None
    )
    return LPSResult(
        **_scores(statistics, mask.cpu(), ties),
        **_sizes(splits, statistics),
        groups=grouping.count if groups is not None else None,
        block_length=grouping.block_length,
        active=mask.cpu().numpy(),
        predictor=name,
        measure=model.measure,
        effective_rank=effective_rank(z[splits[0].test[:_RANK_ROWS].to(z.device)][:, mask]),
        seed=seed,
        warnings=texts,
        seconds=time.perf_counter() - start,
    )


def undefined_lps(
    predictor: str | Predictor, active: Bool[Tensor, "d"], reason: str, seed: int = 0
) -> LPSResult:
    """Return a result without a score, for codes that cannot be scored.

    Args:
        predictor: name in `PREDICTORS`, or a `Predictor`.
        active: active dimensions.
        reason: why there is no score, for ``warnings``.
        seed: seed of the result.
    """
    name, model = find_predictor(predictor)
    protocol = Protocol.quick()
    return LPSResult(
        **_scores(ScoreStatistics(protocol, [], seed), active.cpu()),
        active=active.cpu().numpy(),
        predictor=name,
        measure=model.measure,
        transform=protocol.transform,
        effective_rank=math.nan,
        n_train=0,
        n_validation=0,
        n_test=0,
        folds=protocol.folds,
        copies=0,
        bootstrap=0,
        seed=seed,
        warnings=(reason,),
    )


def find_predictor(predictor: str | Predictor) -> tuple[str, Predictor]:
    """Return the name and the instance of a predictor.

    Raises:
        InputError: the name is unknown, or the predictor is neither a name nor a `Predictor`.
    """
    if isinstance(predictor, Predictor):
        return type(predictor).__name__, predictor
    if isinstance(predictor, str) and predictor in PREDICTORS:
        return predictor, PREDICTORS[predictor]()
    received = shorten(repr(predictor))
    if isinstance(predictor, type):
        raise InputError(f"predictor: class {predictor.__name__} received; give {predictor.__name__}()")
    if isinstance(predictor, Collection) and not isinstance(predictor, str):
        raise InputError(
            f"predictor: {received} received; give one per call, {{name: lps(codes, name) for name in names}}"
        )
    if callable(getattr(predictor, "predict", None)):
        raise InputError(
            f"predictor: {received} received; give it as predictors.LoopedPredictor(lambda seed: regressor)"
        )
    raise InputError(f"predictor: {received} received; give one of {sorted(PREDICTORS)}")


@torch.no_grad()
def _fit(
    statistics: ScoreStatistics, z: Tensor, columns: Sequence[int], model: Predictor, grouping: Grouping
) -> None:
    """Add the outcomes of all fits; with few informative test rows, add the copies that the interval needs.

    Args:
        statistics: receives the outcomes.
        z: active columns of the codes.
        columns: their numbers.
        model: predictor to fit.
        grouping: groups of dependent rows.
    """
    protocol, splits, seed = statistics.protocol, statistics.splits, statistics.seed
    for problems, outcome in fit_problems(z, model, protocol, seed, splits, grouping=grouping):
        statistics.add(problems, outcome)
    rows = statistics.informative_rows()
    if rows >= INFORMATIVE_ROWS:
        return
    statistics.no_interval = too_rare(z, columns, splits)
    if statistics.no_interval or protocol.null >= COPIES:
        return
    size = z.numel() * protocol.folds
    if protocol.null and not model.random and z.shape[1] <= _REFITTED_COLUMNS and size <= _REFITTED_ENTRIES:
        statistics.protocol = replace(protocol, null=COPIES)
        more, first = statistics.protocol, 1 + protocol.null
        for problems, outcome in fit_problems(z, model, more, seed, splits, first, grouping):
            statistics.add_copies(problems, outcome)
    elif rows < MIN_INFORMATIVE_ROWS:
        needed = math.ceil(grouping.count * MIN_INFORMATIVE_ROWS / max(1.0, rows))
        kind = "rows" if grouping.count == grouping.n else "groups"
        statistics.no_interval = (
            f"no interval: about {max(1, round(rows))} test {kind} decide the score, fewer than "
            f"{MIN_INFORMATIVE_ROWS}; give about {needed} {kind}, or null={COPIES}"
        )


def _scores(statistics: ScoreStatistics, active: Tensor, ties: Tensor | None = None) -> dict[str, Any]:
    """Return the fields of `LPSResult` that come from the fits; inactive dimensions are NaN."""

    def all_dimensions(values: Tensor | None) -> np.ndarray:
        full = torch.full((len(active),), math.nan, dtype=torch.float64)
        if values is not None:
            full[active] = values
        return full.numpy()

    r2, null_r2, p_values = statistics.r2(), statistics.null_r2(), statistics.p_values()
    corrected, limits = statistics.interval()
    return {
        "score": statistics.score(),
        "max": math.nan if r2 is None else float(r2.max()),
        "r2": all_dimensions(r2),
        "mean_r2": math.nan if r2 is None else float(r2.mean()),
        "corrected_r2": math.nan if null_r2 is None else corrected,
        "interval": limits,
        "p_value": p_values.overall,
        "p_values": all_dimensions(p_values.per_dimension),
        "permutations": p_values.permutations,
        "null": statistics.null(),
        "null_r2": all_dimensions(null_r2),
        "extra": {name: all_dimensions(values) for name, values in statistics.extra().items()},
        "information_bound": statistics.information_bound(ties),
        "seed_scores": statistics.seed_scores(),
    }


def _sizes(splits: Sequence[Split], statistics: ScoreStatistics) -> dict[str, Any]:
    """Return the fields of `LPSResult` that state the protocol."""
    protocol = statistics.protocol
    return {
        "transform": protocol.transform,
        "n_train": len(splits[0].train),
        "n_validation": len(splits[0].validation),
        "n_test": sum(len(split.test) for split in splits),
        "test_groups": sum(layout.count for layout in statistics.layouts),
        "folds": protocol.folds,
        "copies": protocol.null,
        "bootstrap": protocol.bootstrap,
    }
