"""How simply codes predict factors: explicitness by AUC, and by loss against capacity (DCI-ES)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.groups import sorted_rows
from mmdprior.metrics.supervised.logistic import class_scores, fit_logistic
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["dci_es", "explicitness"]

_STRIDE = 2.0
_FEATURES = (0, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of random Fourier features that are added to the codes."""
_RIDGE = 1e-3
_MIN_R2 = 0.01


def explicitness(table: Table) -> Part:
    """Return the mean one-vs-rest AUC of a linear classifier of every factor (Ridgeway & Mozer, 2018).

    ``explicitness`` is the AUC on the test rows, averaged over the levels that occur in both parts and then
    over factors: 0.5 by chance. ``explicitness_scaled`` is 2 AUC - 1.
    """
    values = [_auc_of(table, *pair) for pair in zip(table.train_factors, table.test_factors, strict=True)]
    part = Part({})
    part.add_mean("explicitness", torch.tensor(values, dtype=torch.float64), table.factors)
    part.scores["explicitness_scaled"] = 2 * part.scores["explicitness"] - 1
    return part


def _auc_of(table: Table, train: Factor, test: Factor) -> float:
    rows, levels, classes = train.classes()
    held_out = test.levels >= 0
    if len(levels) < 2:
        return math.nan
    coefficients = fit_logistic(table.train_z[rows], classes, len(levels))
    probability = class_scores(table.test_z[held_out], coefficients).softmax(1).double()
    return mean_auc(probability, _positions(test.levels[held_out], levels))


def _positions(levels: Int[Tensor, "n"], known: Int[Tensor, "k"]) -> Int[Tensor, "n"]:
    """Return the position of every level among the known ones, -1 for others."""
    place = torch.searchsorted(known, levels).clamp(max=len(known) - 1)
    return torch.where(known[place] == levels, place, -1)


def mean_auc(probability: Float[Tensor, "n k"], classes: Int[Tensor, "n"]) -> float:
    """Return the mean over classes of the area under the ROC curve of one class against the rest.

    AUC = (R - n_1 (n_1 + 1) / 2) / (n_1 n_0), with R the sum of the ranks of the class's n_1 rows, where
    equal probabilities share their mean rank. Classes with no row, or with all rows, are left out.
    """
    n, k = probability.shape
    positive = torch.bincount(classes[classes >= 0], minlength=k)
    usable = (positive > 0) & (positive < n)
    if not bool(usable.any()):
        return math.nan
    # One sorted list of all columns: column * stride + probability.
    offset = _STRIDE * torch.arange(k, device=probability.device)
    ordered = sorted_rows((probability + offset).T.contiguous()).flatten()
    rows = (classes >= 0).nonzero()[:, 0]
    own = classes[rows]
    keys = probability[rows, own] + offset[own]
    low, high = (torch.searchsorted(ordered, keys, right=right) for right in (False, True))
    ranks = (low + high + 1).double() / 2 - n * own
    sums = torch.zeros(k, dtype=torch.float64, device=ranks.device).index_add_(0, own, ranks)
    positive = positive.double()
    area = (sums - positive * (positive + 1) / 2) / (positive * (n - positive)).clamp(min=1)
    return float(area[usable].mean())


def dci_es(table: Table) -> Part:
    """Return how little capacity a probe needs to reach its best loss, after DCI-ES (Eastwood et al., 2023).

    The probe of capacity log2(d + m) is ridge regression on d codes and m random Fourier features of them, m
    from 0 to 256. Its loss is the squared error on the test rows relative to that of the mean. For every
    factor, E = 1 - A / Z. A is the area between the loss, as the smallest up to a capacity, and the best
    loss. Z is the area if the loss falls linearly from 1 to the best loss. E is therefore 1 if the codes
    predict the factor linearly as well as possible, 0 for a linear fall, and down to -1. A factor of which
    no probe explains 1 % is undefined. The paper leaves probe and scale of capacity open; these are ours.
    """
    features = _probe_features(table)
    values = [
        _explicitness_of(features, table.codes.shape[1], *pair)
        for pair in zip(table.train_factors, table.test_factors, strict=True)
    ]
    part = Part({})
    part.add_mean("dci_es", torch.tensor(values, dtype=torch.float64), table.factors)
    return part


def _probe_features(table: Table) -> tuple[Float[Tensor, "n_train e"], Float[Tensor, "n_test e"]]:
    """Return codes and random Fourier features of training and test rows, with training mean 0."""
    d = table.codes.shape[1]
    generator = table.random("dci_es")
    frequencies = torch.randn(d, _FEATURES[-1], generator=generator, dtype=torch.float64) / math.sqrt(d)
    phases = 2 * math.pi * torch.rand(_FEATURES[-1], generator=generator, dtype=torch.float64)
    frequencies, phases = frequencies.to(table.train_z), phases.to(table.train_z)
    train, test = (
        torch.cat([z, math.sqrt(2) * (z @ frequencies + phases).cos()], 1)
        for z in (table.train_z, table.test_z)
    )
    return train - train.mean(0), test - train.mean(0)


def _explicitness_of(features: tuple[Tensor, Tensor], d: int, train: Factor, test: Factor) -> float:
    rows, held_out = train.levels >= 0, test.levels >= 0
    if bool((train.levels[rows] == train.levels[rows][:1]).all()) or not bool(held_out.any()):
        return math.nan
    losses = _probe_losses(
        features[0][rows], train.targets()[rows], features[1][held_out], test.targets()[held_out], d
    )
    lowest = losses.cummin(0).values
    best = lowest[-1]
    if 1 - best < _MIN_R2:
        return math.nan
    capacity = torch.tensor([math.log2(d + m) for m in _FEATURES], dtype=losses.dtype)
    area = torch.trapezoid(lowest - best, capacity)
    return float(1 - area / ((capacity[-1] - capacity[0]) * (1 - best) / 2))


def _probe_losses(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, d: int) -> Float[Tensor, "steps"]:
    """Return the relative test loss of ridge regression on d + m features for every m, at most 1."""
    mean = y.mean(0)
    y, y_test = y.to(x) - mean.to(x), y_test.to(x) - mean.to(x)
    gram = x.T @ x / len(x) + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    # The factor of a leading block is the leading block of the factor, and so is the solution by L.
    factor = torch.linalg.cholesky(gram)
    half = torch.linalg.solve_triangular(factor, x.T @ y / len(x), upper=False)
    losses = []
    for m in _FEATURES:
        q = d + m
        coefficients = torch.linalg.solve_triangular(factor[:q, :q].T, half[:q], upper=True)
        losses.append((x_test[:, :q] @ coefficients - y_test).square().sum())
    total = y_test.square().sum()
    return (torch.stack(losses) / total.clamp(min=torch.finfo(x.dtype).tiny)).clamp(max=1).cpu()
