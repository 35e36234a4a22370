"""Unsupervised disentanglement ranking: agreement of models that differ in their seed (UDR)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.activity import select_dimensions
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.scaling import unit_scale
from mmdprior.metrics.supervised.correlation import average_ranks
from mmdprior.metrics.supervised.extras import optional
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import mean_and_std
from mmdprior.results import Result

__all__ = ["UDR", "udr"]

_MIN_KL = 0.01
_ALPHA = 0.1
_MIN_ROWS = 4


@dataclass(frozen=True)
class UDR(Result):
    """Agreement of every model with the others.

    Attributes:
        scores: (models,) median agreement with the other models.
        pairs: (models, models) agreement; entry (i, j) predicts the codes of model j from those of model i.
            NaN on the diagonal.
        method: ``lasso`` or ``spearman``.
        active: number of informative codes of every model.
        n: number of rows.
        warnings: models without informative codes, whose score is 0.
    """

    scores: Float[np.ndarray, "models"]
    pairs: Float[np.ndarray, "models models"]
    method: str
    active: tuple[int, ...]
    n: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line per model."""
        lines = [f"UDR ({self.method}) of {len(self.scores)} models on {self.n} rows"]
        for model, (score, active) in enumerate(zip(self.scores, self.active, strict=True)):
            lines.append(f"  model {model}: {score:.4f}, {active} informative codes")
        return "\n".join([*lines, *(f"  warning: {text}" for text in self.warnings)])


@torch.no_grad()
def udr(
    models: Sequence[CodesLike],
    *,
    kl: Sequence[Tensor | np.ndarray] | None = None,
    method: Literal["lasso", "spearman"] = "lasso",
) -> UDR:
    """Compute UDR (Duan et al., 2020): how far models agree on their codes, without any labels.

    For a pair of models, R_ab is the absolute coefficient of code a of one model in a lasso (alpha = 0.1) for
    code b of the other, or their absolute rank correlation. The agreement is half the sum of the means over
    rows and over columns of max^2 / sum. It is 1 if informative codes agree one to one, up to the shrinkage
    of the lasso. The score of a model is its median over the other models.

    Args:
        models: codes of every model for the same rows; at least two models.
        kl: mean KL divergence of every code of every model. Codes of at most 0.01 are left out. By default,
            codes that `active_dimensions` calls inactive are.
        method: ``lasso`` or ``spearman``.

    Raises:
        InputError: there are fewer than two models, or codes or divergences do not fit.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import udr
        >>> z = torch.randn(1000, 3)
        >>> rotation = torch.linalg.qr(torch.randn(3, 3)).Q
        >>> result = udr([z, -z[:, [2, 0, 1]], z @ rotation], method="spearman")
        >>> bool(result.pairs[0, 1] > 0.9), bool(result.pairs[0, 2] < 0.7)
        (True, True)
    """
    if method not in ("lasso", "spearman"):
        raise InputError(f"method: {method!r} received; expected lasso or spearman")
    if len(models) < 2 or (kl is not None and len(kl) != len(models)):
        raise InputError(f"models: {len(models)} received; give at least 2, and one entry of kl per model")
    codes = [check_codes(model, min_columns=1, min_rows=_MIN_ROWS) for model in models]
    if len({len(z) for z in codes}) > 1:
        raise InputError(f"models: {[len(z) for z in codes]} rows received; encode the same images")
    masks = [
        select_dimensions(z, None if kl is None else _informative(kl[i], z, i)) for i, z in enumerate(codes)
    ]
    used = [_prepared(unit_scale(z[:, mask]), method) for z, mask in zip(codes, masks, strict=True)]
    count = len(used)
    pairs = np.full((count, count), math.nan)
    for i in range(count):
        for j in range(count):
            if i != j:
                pairs[i, j] = _agreement(_strengths(used[i], used[j], method))
    texts = tuple(
        f"model {i} has no informative code, so its score is 0" for i, z in enumerate(used) if z.shape[1] == 0
    )
    for text in texts:
        warnings.warn(f"udr: {text}", stacklevel=2)
    return UDR(
        scores=np.nanmedian(pairs, axis=0),
        pairs=pairs,
        method=method,
        active=tuple(z.shape[1] for z in used),
        n=len(codes[0]),
        warnings=texts,
    )


def _informative(kl: Tensor | np.ndarray, z: Tensor, model: int) -> Bool[Tensor, "d"]:
    values = torch.as_tensor(kl)
    if values.shape != z.shape[1:]:
        raise InputError(f"kl: shape {tuple(values.shape)} received for model {model}; give ({z.shape[1]},)")
    return values > _MIN_KL


def _prepared(z: Float[Tensor, "n d"], method: str) -> Float[Tensor, "n d"]:
    """Return standardised codes, or standardised ranks."""
    z = in_float64(z)
    z = average_ranks(z) if method == "spearman" and z.shape[1] else z
    mean, std = mean_and_std(z) if z.shape[1] else (z.sum(0), z.sum(0))
    return (z - mean) / torch.where(std > 0, std, 1.0)


def _strengths(
    one: Float[Tensor, "n a"], other: Float[Tensor, "n b"], method: str
) -> Float[np.ndarray, "a b"]:
    if one.shape[1] == 0 or other.shape[1] == 0:
        return np.zeros((one.shape[1], other.shape[1]))
    if method == "spearman":
        return (one.T @ other / len(one)).abs().cpu().numpy()
    model = optional("sklearn.linear_model", "udr").Lasso(alpha=_ALPHA)
    model.fit(one.cpu().numpy(), other.cpu().numpy())
    return np.abs(model.coef_.reshape(other.shape[1], one.shape[1])).T


def _agreement(strengths: Float[np.ndarray, "a b"]) -> float:
    """Return half the sum of the means over both axes of max^2 / sum, which is 0 where all are 0."""
    if strengths.size == 0:
        return 0.0
    parts = []
    for axis in (0, 1):
        sums = strengths.sum(axis)
        best = strengths.max(axis)
        parts.append(np.divide(best**2, sums, out=np.zeros_like(sums), where=sums > 0).mean())
    return float(sum(parts)) / 2
