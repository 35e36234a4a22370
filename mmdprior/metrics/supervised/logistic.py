"""Multinomial logistic regression with L-BFGS on the device of the codes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.extras import optional

__all__ = ["class_scores", "fit_logistic"]

_TOLERANCE = 1e-3
"""Largest entry of the gradient per row at which the fit stops."""
_CHANGE = 1e-9
"""Relative change of the loss at which the fit stops."""
_ITERATIONS = 100


def fit_logistic(
    x: Float[Tensor, "n d"],
    classes: Int[Tensor, "n"],
    count: int,
    *,
    penalty: float = 1.0,
    weights: Float[Tensor, "n"] | None = None,
    tolerance: float = _TOLERANCE,
) -> Float[Tensor, "d_plus_1 classes"]:
    """Return the coefficients that minimise the log loss plus penalty / 2 times their squared norm.

    The last row is the intercept, which is not penalised. The minimum is that of scikit-learn's
    ``LogisticRegression(C=1 / penalty)``, of the same loss with one coefficient per class.

    Args:
        x: standardised inputs.
        classes: class of every row, from 0 to ``count - 1``.
        count: number of classes.
        penalty: weight of the squared norm, against a sum over rows.
        weights: weight of every row; 1 by default.
        tolerance: largest entry of the gradient per row at which the fit stops.
    """
    rows = _with_ones(x.float())
    # One column per row of x: sums over classes then run over contiguous memory.
    columns = rows.T.contiguous()
    n = len(rows)
    share = torch.full((n,), 1 / n, device=x.device) if weights is None else weights.to(rows) / n
    target = (torch.nn.functional.one_hot(classes, count).T * share).contiguous()
    decay = torch.full((rows.shape[1],), penalty / n, device=x.device)
    decay[-1] = 0

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = torch.from_numpy(flat).to(rows).view(count, -1)
        logits = coefficients @ columns
        logits -= logits.amax(0)
        of_target = (logits * target).sum()
        odds = logits.exp_()
        total = odds.sum(0)
        gradient = odds.mul_(share / total).sub_(target) @ rows + decay * coefficients
        loss = total.log() @ share - of_target + (decay * coefficients.square()).sum() / 2
        return float(loss), gradient.flatten().double().cpu().numpy()

    result = optional("scipy.optimize", "explicitness").minimize(
        loss_and_gradient,
        np.zeros(count * rows.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "gtol": tolerance, "ftol": _CHANGE},
    )
    return torch.from_numpy(result.x).to(rows).view(count, -1).T


def class_scores(x: Float[Tensor, "n d"], coefficients: Float[Tensor, "e k"]) -> Float[Tensor, "n k"]:
    """Return the logits of every class."""
    return _with_ones(x.float()) @ coefficients


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)
