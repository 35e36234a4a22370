"""How well the dimensions that a conditional prior gives to labels hold them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.priors import ConditionalPrior, Factor, Prior
from mmdprior.priors.factor import label_values
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["SCALARS", "LabelScores", "Semantics", "semantics"]

SCALARS = ("accuracy", "r2", "free_accuracy", "free_r2")
"""Scores of a label that are logged."""
_NEIGHBOURS = 10
_MIN_ROWS = 4 * _NEIGHBOURS
_BLOCK = 2048
"""Rows whose distances are held at once."""


@dataclass(frozen=True)
class LabelScores(Result):
    """Scores of one label that is predicted from codes.

    Attributes:
        dims: dimensions that hold the label.
        accuracy: share of rows whose label the neighbours in these dimensions name by majority; NaN for
            labels without levels.
        r2: R2 of the mean position of the neighbours; NaN for discrete labels.
        direct: share of rows whose label is the one that the prior reads off the code.
        free_accuracy: as ``accuracy``, in the dimensions of no label; NaN without such dimensions.
        free_r2: as ``r2``, in the dimensions of no label.
        majority: share of the most frequent value, which is the accuracy of a constant.
    """

    dims: tuple[int, ...]
    accuracy: float
    r2: float
    direct: float
    free_accuracy: float
    free_r2: float
    majority: float


@dataclass(frozen=True)
class Semantics(Result):
    """Labels read off the dimensions that hold them, and off the dimensions of no label.

    Attributes:
        labels: scores by label.
        n: number of scored rows, half of all; the other half are the neighbours.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import semantics
        >>> from mmdprior.priors import Factors
        >>> prior = Factors(3, {"x": {"dims": [1], "levels": 4}})
        >>> labels = torch.arange(400)[:, None] % 4
        >>> result = semantics(prior.sample(400, given=labels), labels, ("x",), prior)
        >>> result.labels["x"].accuracy > 0.95, result.labels["x"].free_accuracy < 0.5
        (True, True)
    """

    labels: Mapping[str, LabelScores]
    n: int

    def scalars(self) -> dict[str, float]:
        """Return the finite scores by name, such as ``<label>_accuracy`` and ``<label>_free_r2``."""
        values = {
            f"{name}_{key}": getattr(scores, key) for name, scores in self.labels.items() for key in SCALARS
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def __str__(self) -> str:
        lines = ["label         dims            accuracy      R2  direct   free: accuracy      R2  majority"]
        for name, s in self.labels.items():
            dims = ", ".join(map(str, s.dims)) if len(s.dims) < 5 else f"{s.dims[0]} to {s.dims[-1]}"
            own = f"{s.accuracy:8.3f} {s.r2:7.3f} {s.direct:7.3f}"
            lines.append(
                f"{name:13} {dims:15} {own}   {s.free_accuracy:14.3f} {s.free_r2:7.3f} {s.majority:9.3f}"
            )
        return "\n".join(lines)


def semantics(
    codes: Float[Tensor, "n d"],
    labels: Tensor,
    names: Sequence[str],
    prior: Prior,
    *,
    seed: int = 0,
) -> Semantics | None:
    """Return how well held-out codes hold the labels of a conditional prior.

    Each label is predicted from the ten nearest codes in the dimensions of the label, half of the rows from
    the other half. Nothing is fitted, and a map that acts on each dimension separately changes little.

    Args:
        codes: codes that no labels were used for.
        labels: (n, k) labels; NaN, or negative in integer labels, where missing.
        names: one name per label column.
        prior: the intended prior.
        seed: seed of the halves.

    Returns:
        The scores; None for a prior that is not conditional, and for labels that the data do not have.
    """
    if not isinstance(prior, ConditionalPrior):
        return None
    known = [(i, f) for i, f in enumerate(prior.factors) if f.name in names]
    order = torch.randperm(len(codes), generator=stream(seed, "semantics"))
    half = len(codes) // 2
    if not known or half < _MIN_ROWS:
        return None
    z = codes.detach().float().cpu()
    values = label_values(labels.cpu())
    read = prior.read(z.to(prior.device)).cpu()
    taken = {dim for factor in prior.factors for dim in factor.dims}
    free = [dim for dim in range(prior.dim) if dim not in taken]
    scores = {}
    for index, factor in known:
        column = values[:, list(names).index(factor.name)]
        rows = order[~column[order].isnan()]
        near, far = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        if len(near) < _NEIGHBOURS:
            continue
        accuracy, r2 = _by_neighbours(z[:, list(factor.dims)], column, near, far, factor)
        free_scores = _by_neighbours(z[:, free], column, near, far, factor) if free else (math.nan, math.nan)
        levels = factor.levels is not None
        direct = float((read[far, index] == column[far]).double().mean()) if levels else math.nan
        majority = float(column[far].unique(return_counts=True)[1].max()) / len(far)
        scores[factor.name] = LabelScores(tuple(factor.dims), accuracy, r2, direct, *free_scores, majority)
    return Semantics(scores, len(codes) - half)


def _by_neighbours(
    z: Tensor, values: Tensor, near: Tensor, far: Tensor, factor: Factor
) -> tuple[float, float]:
    """Return accuracy and R2 of predictions of rows ``far`` from their neighbours among rows ``near``."""
    scale = z[near].std(0).clamp(min=1e-12)
    known, asked = z[near] / scale, z[far] / scale
    neighbours = torch.cat(
        [torch.cdist(block, known).topk(_NEIGHBOURS, largest=False).indices for block in asked.split(_BLOCK)]
    )
    found = values[near][neighbours]
    accuracy = math.nan
    if factor.levels is not None:
        votes = torch.nn.functional.one_hot(found.long(), factor.levels).sum(1)
        accuracy = float((votes.argmax(1) == values[far].long()).double().mean())
    if factor.kind == "discrete":
        return accuracy, math.nan
    target = factor.positions(values[far])
    predicted = factor.positions(found.flatten()).unflatten(0, found.shape).mean(1)
    error = (target - predicted).square().sum() / (target - target.mean(0)).square().sum()
    return accuracy, 1 - float(error)
