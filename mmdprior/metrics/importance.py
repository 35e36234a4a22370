"""Permutation importance of dimension j for predicting dimension i."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import check_integer
from mmdprior.metrics.activity import ActiveLike, select_dimensions
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.group_labels import GroupLabels, make_grouping
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.layout import Layout
from mmdprior.metrics.lps import find_predictor
from mmdprior.metrics.protocol import Problem, Protocol, Transform, problem_rows
from mmdprior.metrics.scaling import unit_scale
from mmdprior.predictors import Fitted, Predictor
from mmdprior.seeding import stream

__all__ = ["importance"]


def importance(
    codes: CodesLike,
    predictor: str | Predictor = "linear",
    *,
    seed: int = 0,
    active: ActiveLike = None,
    transform: Transform = "standardise",
    repeats: int = 3,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> Float[np.ndarray, "d d"]:
    """Return how much R2 of each dimension drops when another dimension is permuted over the test rows.

    Entry (i, j) is R2_i - R2_i with z_j permuted, with the predictor fixed (permutation importance, Breiman,
    2001). Split and predictor are those of `lps` with the same seed.

    The entry is about 0 if the prediction of z_i does not use z_j, and up to 2 R2_i if it uses nothing else.
    If several inputs carry the same information, the predictor may use all of them or one: importance
    describes the predictor, not the codes.

    Args:
        codes: (n, d) codes, one row per sample.
        predictor: name in `PREDICTORS`, or a `Predictor`. It is fitted once and evaluated
            d times per repeat.
        seed: seed of the split, the fit and the permutations.
        active: dimensions, as d booleans or as indices; by default `active_dimensions` of the codes.
        transform: transform of each dimension, as for `lps`.
        repeats: number of permutations to average over; with groups, whole groups are permuted.
        groups: groups of dependent rows, as for `lps`.
        block_length: rows per block, as for `lps`.

    Returns:
        The (d, d) matrix. The diagonal, and the rows and columns of inactive dimensions, are NaN.

    Raises:
        InputError: codes, predictor or transform are invalid, as for `lps`; or ``repeats`` is not an
            integer of at least 1.

    Example:
        >>> import torch
        >>> from mmdprior import importance
        >>> z = torch.randn(2000, 3)
        >>> z[:, 2] = z[:, 0] + 0.1 * z[:, 2]
        >>> importance(z).round(1) > 0.5
        array([[False, False,  True],
               [False, False, False],
               [ True, False, False]])
    """
    repeats, seed = check_integer("repeats", repeats), check_integer("seed", seed, None)
    z = check_codes(codes)
    _, model = find_predictor(predictor)
    Protocol(transform)  # raises for an unknown transform
    mask = select_dimensions(z, active).cpu()
    matrix = np.full((len(mask), len(mask)), math.nan)
    if int(mask.sum()) < 2:
        return matrix
    used = unit_scale(z[:, mask.to(z.device)])
    grouping = make_grouping(groups, block_length, used)
    splits = grouping.split(1, seed, model.uses_validation)
    with torch.no_grad():
        train, validation, test, generators = problem_rows(used, [Problem(0, 0, 0)], splits, transform, seed)
        layout = grouping.layout(splits[0].test)
        drops = _r2_drops(model.fit(train, validation, generators), test, layout, repeats, seed)
    matrix[np.ix_(mask.numpy(), mask.numpy())] = drops.numpy()
    return matrix


def _r2_drops(fitted: Fitted, z: Tensor, layout: Layout, repeats: int, seed: int) -> Tensor:
    """Return the (d, d) drops of R2_i with column j permuted, averaged over repeats."""
    d = z.shape[2]
    before = fitted(z).r2()[0].cpu().double()
    drops = torch.full((d, d), math.nan, dtype=torch.float64)
    for column in range(d):
        after = torch.zeros_like(before)
        for repeat in range(repeats):
            order = next(layout.rearrangements(1, stream(seed, f"importance/{repeat}", column)))
            permuted = z.clone()
            permuted[:, :, column] = z[:, order.to(z.device), column]
            after += fitted(permuted).r2()[0].cpu().double() / repeats
        drops[:, column] = before - after
        drops[column, column] = math.nan
    return drops
