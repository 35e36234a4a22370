"""Disentanglement, completeness and informativeness from the importances of codes (DCI)."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.correlation import average_ranks
from mmdprior.metrics.supervised.extras import optional
from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.information import completeness, disentanglement_of
from mmdprior.metrics.supervised.logistic import class_scores, fit_logistic
from mmdprior.metrics.supervised.table import Part, Table

__all__ = ["dci"]

_ROUNDS = 100
_DEPTH = 3
_LASSO = 0.01
_MAX_CLASSES = 1000
_ROUNDING = 1e-12


def dci(table: Table) -> Part:
    """Return disentanglement, completeness and informativeness (Eastwood & Williams, 2018).

    One probe per factor predicts its level, or the value of a continuous factor, from the standardised codes
    of the training rows. With R_jk the importance of code j in the probe of factor k, which sums to 1 over
    codes:

    - ``dci_disentanglement``: mean over codes of 1 - H(R_j. / sum) / log(factors), weighted by their sums.
    - ``dci_completeness``: mean over factors of 1 - H(R_.k) / log(codes), where inactive codes count too.
    - ``dci_informativeness``: mean test accuracy; for continuous factors, and for lasso, max(0, R2).

    Codes that are copies of one another get equal shares of their importance, because a probe may use any
    one of them. For trees, copies are codes with the same or the reverse order of rows.

    Importances: the gains of all splits per code (``histogram``), the mean decrease in impurity
    (``gradient_boosted``, ``random_forest``), or absolute coefficients, summed over outputs (``lasso``,
    ``logistic``).
    """
    columns, skill = [], []
    for train, test in zip(table.train_factors, table.test_factors, strict=True):
        importance, value = _probe(table, train, test)
        columns.append(importance)
        skill.append(value)
    matrix = torch.stack(columns, 1)
    part = Part({}, matrices={"importance": matrix})
    part.add_mean("dci_informativeness", torch.tensor(skill, dtype=torch.float64), table.factors)
    known = matrix[:, ~matrix.isnan().any(0)]
    part.scores["dci_disentanglement"] = disentanglement_of(known) if known.shape[1] else math.nan
    part.scores["dci_completeness"] = completeness(known, table.columns) if known.shape[1] else math.nan
    if known.shape[1] == 1:
        part.notes["dci_disentanglement"] = "undefined for one factor"
    if table.columns == 1:
        part.notes["dci_completeness"] = "undefined for one code"
    return part


def _probe(table: Table, train: Factor, test: Factor) -> tuple[Float[Tensor, "d"], float]:
    """Return the normalised importances of a factor, and the skill of its probe on the test rows."""
    rows, held_out = train.levels >= 0, test.levels >= 0
    x, x_test = table.train_z[rows], table.test_z[held_out]
    train, test = train.take(rows.nonzero()[:, 0]), test.take(held_out.nonzero()[:, 0])
    classes = len(train.classes()[1])
    if classes < 2 or len(x_test) == 0 or classes > _MAX_CLASSES:
        return torch.full((x.shape[1],), math.nan, dtype=torch.float64), math.nan
    name = table.protocol.probe
    # A probe breaks ties between codes by their order, so the order is random.
    order = torch.randperm(x.shape[1], generator=table.random("dci")).to(x.device)
    arguments = (x[:, order], train, x_test[:, order], test)
    if name in ("logistic", "lasso"):
        importance, skill = (_logistic if name == "logistic" else _lasso)(*arguments)
        copies = _copies(x)
    else:
        importance, skill = _trees(name, *arguments, table.seed)
        copies = _copies(average_ranks(x))
    importance = importance[order.argsort().cpu()]
    total = importance.sum()
    return _shared(importance / torch.where(total > 0, total, 1.0), copies), skill


def _copies(x: Float[Tensor, "n d"]) -> Int[Tensor, "d"]:
    """Return a number per column, equal for columns that are equal up to scale, shift and sign."""
    centred = x - x.mean(0)
    unit = centred / centred.norm(dim=0).clamp(min=torch.finfo(x.dtype).tiny)
    copies = (unit.T @ unit).abs() > 1 - _ROUNDING
    return copies.int().argmax(1).cpu()


def _shared(importance: Float[Tensor, "d"], copies: Int[Tensor, "d"]) -> Float[Tensor, "d"]:
    """Return importances in which copies of a code have equal shares."""
    sums = torch.zeros_like(importance).index_add_(0, copies, importance)
    return (sums / copies.bincount(minlength=len(importance)).clamp(min=1))[copies]


def _trees(
    name: str, x: Tensor, train: Factor, x_test: Tensor, test: Factor, seed: int
) -> tuple[Float[Tensor, "d"], float]:
    continuous = train.kind == "continuous"
    model = _tree_model(name, continuous, seed)
    target, expected = (
        factor.values[:, 0] if continuous and factor.values is not None else factor.levels
        for factor in (train, test)
    )
    _fit(model, x, target)
    predicted, truth = model.predict(x_test.cpu().numpy()), expected.cpu().numpy()
    skill = _r2(predicted[:, None], truth[:, None]) if continuous else float((predicted == truth).mean())
    importance = _split_gains(model, x.shape[1]) if name == "histogram" else model.feature_importances_
    return torch.from_numpy(np.asarray(importance, dtype=np.float64)), skill


def _fit(model: Any, x: Tensor, target: Tensor) -> None:
    """Fit a scikit-learn model, without its warnings about many classes or slow convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(x.cpu().numpy(), target.cpu().numpy())


def _tree_model(name: str, continuous: bool, seed: int) -> Any:
    """Return trees of the reference's size, 100 rounds of depth 3; the forest has scikit-learn's defaults."""
    ensemble = optional("sklearn.ensemble", "dci_disentanglement")
    kind = "Regressor" if continuous else "Classifier"
    if name == "random_forest":
        return getattr(ensemble, f"RandomForest{kind}")(random_state=seed)
    if name == "gradient_boosted":
        return getattr(ensemble, f"GradientBoosting{kind}")(
            n_estimators=_ROUNDS, max_depth=_DEPTH, random_state=seed
        )
    return getattr(ensemble, f"HistGradientBoosting{kind}")(
        max_iter=_ROUNDS,
        max_depth=_DEPTH,
        max_leaf_nodes=None,
        min_samples_leaf=1,
        early_stopping=False,
        random_state=seed,
    )


def _split_gains(model: Any, d: int) -> np.ndarray:
    """Return the sum over all splits of histogram trees of their gain, per code.

    scikit-learn has no importances of these trees. The gain of a split is the decrease of the loss, to second
    order, that it makes.
    """
    gains = np.zeros(d)
    for trees in model._predictors:  # one tree per class and round
        for tree in trees:
            split = tree.nodes[tree.nodes["is_leaf"] == 0]
            gains += np.bincount(split["feature_idx"], weights=split["gain"], minlength=d)
    return gains


def _logistic(x: Tensor, train: Factor, x_test: Tensor, test: Factor) -> tuple[Float[Tensor, "d"], float]:
    _, levels, classes = train.classes()
    coefficients = fit_logistic(x, classes, len(levels))
    predicted = levels[class_scores(x_test, coefficients).argmax(1)]
    importance = (coefficients[:-1] - coefficients[:-1].mean(1, keepdim=True)).abs().sum(1)
    return importance.double().cpu(), float((predicted == test.levels).double().mean())


def _lasso(x: Tensor, train: Factor, x_test: Tensor, test: Factor) -> tuple[Float[Tensor, "d"], float]:
    y, y_test = train.targets().cpu(), test.targets().cpu()
    mean, std = y.mean(0), y.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    model = optional("sklearn.linear_model", "dci_disentanglement").Lasso(alpha=_LASSO)
    _fit(model, x, (y - mean) / std)
    predicted = model.predict(x_test.cpu().numpy()).reshape(len(x_test), -1)
    skill = _r2(predicted, ((y_test - mean) / std).numpy())
    return torch.from_numpy(np.abs(model.coef_).reshape(-1, x.shape[1]).sum(0)), skill


def _r2(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return max(0, R2) over all outputs; NaN where the truth does not vary."""
    total = np.square(truth - truth.mean(0)).sum()
    if total == 0:
        return math.nan
    return float(max(0.0, 1 - np.square(predicted - truth).sum() / total))
