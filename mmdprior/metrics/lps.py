"""LPS, the Latent Predictability Score: how well each code dimension is predicted by the others."""

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.activity import _effective_rank, active_columns
from mmdprior.metrics.inference import ScoreStatistics
from mmdprior.metrics.protocol import Protocol, Split, Transform, check_codes, concerns, run, splits
from mmdprior.metrics.result import LPSResult
from mmdprior.predictors import PREDICTORS, Predictor

__all__ = ["LPSResult", "PREDICTORS", "check_codes", "find_predictor", "lps"]

_RANK_ROWS = 10_000


def lps(
    codes: Tensor | np.ndarray,
    predictor: str | Predictor = "linear",
    *,
    seed: int = 0,
    active: Tensor | np.ndarray | None = None,
    transform: Transform = "standardise",
    folds: int = 1,
    seeds: int = 1,
    null: int = 1,
    permutations: int = 199,
    bootstrap: int = 999,
) -> LPSResult:
    """Score how well every code dimension is predicted from the others on held-out codes.

    LPS = mean_i max(0, R2_i): 0 for independent codes, 1 for fully predictable ones (the paper's score,
    arXiv 2510.11953, averages the predictability of a regression model; its normalisation is not
    stated there, so this one is ours). Rows are split 60/20/20 into training, validation and test at
    random; R2_i = 1 - sum (z_i - prediction)^2 / sum (z_i - mean)^2 over test rows, or what else the
    predictor's ``measure`` says on the same scale. A score is of the predictor's class: no single one sees
    every dependence.

    Beside it stand what chance gives (column-shuffled copies through the same fits), a p-value (exact:
    z_i permuted over the test rows, predictor fixed, Bonferroni over i) and a bootstrap interval of the
    mean R2_i that the predictor's class could reach: the held-out R2 is too low by the error of
    estimation, which the shuffled copies measure and `corrected` takes out. For exact predictors that is
    the population's value; early-stopped ones stay below it where codes are few. How far they differ
    by seed is in ``seed_scores``.

    Args:
        codes: one row a datum.
        predictor: a name of `PREDICTORS`, or an object of a `Predictor` class of your own.
        seed: of everything random.
        active: dimensions to score; by default those whose standard deviation exceeds 1e-3 of
            the largest. With a stochastic encoder take `mmdprior.evaluation.encode.active_dimensions`.
        transform: of each dimension by its training rows: ``standardise``, ``rank_gaussian`` or ``none``.
        folds: 1 for the one split, or K for cross-fitting in K folds.
        seeds: predictor seeds to average over.
        null: shuffled copies; 0 leaves the chance level and the correction out.
        permutations: at least; 0 leaves the p-value out.
        bootstrap: draws; 0 leaves the interval out.

    Raises:
        InputError: codes that are not numeric, not (n, d) with d >= 2, not finite, or fewer than
            max(30, d + 2) rows; an unknown predictor or transform, or a count out of range.
    """
    begun = time.perf_counter()
    z = check_codes(codes)
    name, model = find_predictor(predictor)
    protocol = Protocol(transform, folds, seeds, null, permutations, bootstrap)
    mask = active_columns(z, active)
    noted = concerns(codes, z, mask)
    for text in noted:
        warnings.warn(f"codes: {text}", stacklevel=2)
    rows = splits(len(z), folds, seed, model.uses_validation)
    evidence = ScoreStatistics(protocol, rows, seed)
    if int(mask.sum()) >= 2:
        used = z if bool(mask.all()) else z[:, mask]
        with torch.no_grad():
            for problems, outcome in run(used, model, protocol, seed, rows):
                evidence.add(problems, outcome)
    return LPSResult(
        **_scores(evidence, mask.cpu()),
        **_sizes(rows, protocol),
        active=mask.cpu().numpy(),
        predictor=name,
        measure=model.measure,
        effective_rank=_effective_rank(z[rows[0].test[:_RANK_ROWS].to(z.device)][:, mask]),
        seed=seed,
        warnings=noted,
        seconds=time.perf_counter() - begun,
    )


def _scores(evidence: ScoreStatistics, active: Tensor) -> dict[str, Any]:
    """Return the fields that the fits gave; dimensions that are not active get NaN."""

    def full(values: Tensor | None) -> np.ndarray:
        every = torch.full((len(active),), math.nan, dtype=torch.float64)
        if values is not None:
            every[active] = values
        return every.numpy()

    r2, null_r2, tested = evidence.r2(), evidence.null_r2(), evidence.p_values()
    corrected, limits = evidence.interval()
    return {
        "score": evidence.score(),
        "max": math.nan if r2 is None else float(r2.max()),
        "r2": full(r2),
        "mean_r2": math.nan if r2 is None else float(r2.mean()),
        "corrected_r2": math.nan if null_r2 is None else corrected,
        "interval": limits,
        "p_value": tested.overall,
        "p_values": full(tested.each),
        "permutations": tested.permutations,
        "null": evidence.null(),
        "null_r2": full(null_r2),
        "extra": {name: full(values) for name, values in evidence.extra().items()},
        "information_bound": evidence.information_bound(),
        "seed_scores": evidence.seed_scores(),
    }


def _sizes(rows: Sequence[Split], protocol: Protocol) -> dict[str, Any]:
    return {
        "transform": protocol.transform,
        "n_train": len(rows[0].train),
        "n_validation": len(rows[0].validation),
        "n_test": sum(len(fold.test) for fold in rows),
        "folds": protocol.folds,
        "copies": protocol.null,
        "bootstrap": protocol.bootstrap,
    }


def find_predictor(predictor: str | Predictor) -> tuple[str, Predictor]:
    """Return the name and the object of a predictor given as either."""
    if isinstance(predictor, Predictor):
        return type(predictor).__name__, predictor
    if predictor not in PREDICTORS:
        raise InputError(f"predictor: {predictor!r} received; give one of {sorted(PREDICTORS)}")
    return predictor, PREDICTORS[predictor]()
