"""Which code dimension is predicted by which."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.activity import active_columns
from mmdprior.metrics.lps import find_predictor
from mmdprior.metrics.protocol import Problem, Protocol, Transform, check_codes, parts, splits
from mmdprior.predictors import Fitted, Predictor
from mmdprior.seeding import stream

__all__ = ["importance"]


def importance(
    codes: Tensor | np.ndarray,
    predictor: str | Predictor = "linear",
    *,
    seed: int = 0,
    active: Tensor | np.ndarray | None = None,
    transform: Transform = "standardise",
    repeats: int = 3,
) -> Float[np.ndarray, "d d"]:
    """Return how much each dimension's R2 falls when another is permuted over the test rows.

    Entry (i, j) is R2_i - R2_i with z_j permuted, predictor fixed (permutation importance, Breiman, 2001),
    for the split and the predictor of `lps` with the same seed. About 0 where z_i does not lean on z_j, up
    to 2 R2_i where it leans on nothing else. Of several inputs that say the same each has a part, or one has
    all: it tells what the predictor used. NaN on the diagonal and where either is inactive.

    Args:
        codes: one row a datum.
        predictor: a name of `PREDICTORS` or an object; fitted once, then tested d times a repeat.
        seed: of split, predictor and permutations.
        active: as in `lps`.
        transform: as in `lps`.
        repeats: permutations averaged over.

    Raises:
        InputError: as `lps`; or repeats under 1.
    """
    if repeats < 1:
        raise InputError(f"repeats: {repeats} received; give at least 1")
    z = check_codes(codes)
    _, model = find_predictor(predictor)
    Protocol(transform)
    mask = active_columns(z, active).cpu()
    matrix = np.full((len(mask), len(mask)), math.nan)
    if int(mask.sum()) < 2:
        return matrix
    rows = splits(len(z), 1, seed, model.uses_validation)
    used = z[:, mask.to(z.device)]
    with torch.no_grad():
        train, validation, test, generators = parts(used, [Problem(0, 0, 0)], rows, transform, seed)
        drops = _drops(model.fit(train, validation, generators), test, repeats, seed)
    matrix[np.ix_(mask.numpy(), mask.numpy())] = drops.numpy()
    return matrix


def _drops(fitted: Fitted, z: Tensor, repeats: int, seed: int) -> Tensor:
    d = z.shape[2]
    before = fitted(z).r2()[0].cpu().double()
    drops = torch.full((d, d), math.nan, dtype=torch.float64)
    for column in range(d):
        after = torch.zeros_like(before)
        for repeat in range(repeats):
            order = torch.randperm(z.shape[1], generator=stream(seed, f"importance/{repeat}", column))
            permuted = z.clone()
            permuted[:, :, column] = z[:, order.to(z.device), column]
            after += fitted(permuted).r2()[0].cpu().double() / repeats
        drops[:, column] = before - after
        drops[column, column] = math.nan
    return drops
