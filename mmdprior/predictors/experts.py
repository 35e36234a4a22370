"""Mixture of linear experts per dimension, fitted by EM."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError, check_integer
from mmdprior.predictors.em import expectation_maximisation, random_start
from mmdprior.predictors.mixture import Mixture
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["ExpertsPredictor"]

_ROWS = 8192
"""Rows predicted at a time, to bound memory."""


class ExpertsPredictor(Predictor):
    """Predict every dimension by a mixture of linear experts, fitted by EM without a learning rate.

    E[z_i | others] = sum_k softmax_k(W x) b_k'x, where x is the other dimensions and a constant: a smooth,
    piecewise linear function.

    EM runs from several random gates at once. After ``trial`` iterations every dimension continues from the
    start that predicts its validation codes best. Each dimension keeps the iteration of lowest validation
    error. EM stops when no dimension has improved for ``patience`` iterations. The training mean is the
    candidate of iteration 0, so independent codes score about zero, not below.

    Args:
        experts: number K of experts per dimension.
        starts: number of random gates to start from.
        trial: iterations run from every start, before only the best start continues.
        iterations: largest number of iterations.
        patience: iterations without improvement in any dimension before EM stops.
        ridge: penalty on all coefficients of standardised codes, relative to the number of rows.

    Raises:
        InputError: a setting is not positive.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> from mmdprior.predictors import ExpertsPredictor
        >>> z = torch.randn(1000, 2)
        >>> z[:, 1] = z[:, 0].abs() + 0.1 * z[:, 1]
        >>> bool(lps(z, "linear").r2[1] < 0.2), bool(lps(z, ExpertsPredictor(experts=2)).r2[1] > 0.9)
        (True, True)
    """

    uses_validation = True

    def __init__(
        self,
        experts: int = 8,
        starts: int = 2,
        trial: int = 10,
        iterations: int = 150,
        patience: int = 8,
        ridge: float = 1e-6,
    ) -> None:
        settings = {
            "experts": experts,
            "starts": starts,
            "trial": trial,
            "iterations": iterations,
            "patience": patience,
        }
        for name, value in settings.items():
            check_integer(name, value)
        if ridge <= 0:
            raise InputError(f"ridge: {ridge} received; give a positive number")
        self.experts = experts
        self.starts = starts
        self.trial = trial
        self.iterations = iterations
        self.patience = patience
        self.ridge = ridge

    @torch.no_grad()
    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Fit all mixtures together; keep the best iteration of every dimension."""
        with torch.autocast(train.device.type, enabled=False):
            train, validation = train.float(), validation.float()
            best = _BestMixtures(self._best_start(train, validation, generators), train, validation)
            others = _others(train.shape[2], train.device)
            steps = expectation_maximisation(
                _with_constant(train), train, best.mixture, mask=others, ridge=self.ridge
            )
            for _ in range(self.iterations - self.trial):
                if best.update(next(steps)) > self.patience:
                    break

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            with torch.autocast(z.device.type, enabled=False):
                return Regression(z, best.predict(z.float()))

        return outcome

    def _best_start(
        self, train: Tensor, validation: Tensor, generators: Sequence[torch.Generator]
    ) -> Mixture:
        """Return the mixture of the best random start per dimension, after ``trial`` iterations.

        The starts are further targets of the same problem: target s d + i is dimension i from start s.
        """
        d = train.shape[2]
        others = _others(d, train.device).repeat(self.starts, 1)
        x, y = _with_constant(train), train.repeat(1, 1, self.starts)
        mixture = random_start(x, y, self.experts, "linear", generators, mask=others, ridge=self.ridge)
        steps = expectation_maximisation(x, y, mixture, mask=others, ridge=self.ridge)
        for _ in range(self.trial):
            mixture = next(steps)
        prediction = mixture.mean(_with_constant(validation))
        error = (validation.repeat(1, 1, self.starts) - prediction).square().mean(1)
        chosen = error.unflatten(1, (self.starts, d)).argmin(1) * d + torch.arange(d, device=error.device)
        return mixture.take(chosen)


class _BestMixtures:
    """Best mixture of every dimension so far, by validation error.

    Args:
        mixture: first candidate.
        train: (p, n, d) training codes, whose mean is the prediction to beat.
        validation: (p, m, d) validation codes.
    """

    def __init__(self, mixture: Mixture, train: Tensor, validation: Tensor) -> None:
        self.validation = validation
        self.mean = train.mean(1, keepdim=True)
        self.error = (validation - self.mean).square().mean(1)
        self.constant = torch.ones_like(self.error, dtype=torch.bool)
        self.waited = torch.zeros_like(self.error, dtype=torch.long)
        self.mixture = mixture
        self.update(mixture)

    def update(self, mixture: Mixture) -> int:
        """Keep the dimensions that improved; return the iterations since the last improvement of any."""
        error = (self.validation - _predict(mixture, self.validation)).square().mean(1)
        improved = error < self.error
        self.error = torch.where(improved, error, self.error)
        self.constant &= ~improved
        self.waited = torch.where(improved, 0, self.waited + 1)
        self.mixture = mixture.where(improved, self.mixture)
        return int(self.waited.min())

    def predict(self, z: Tensor) -> Tensor:
        """Predict by the best mixtures, or by the training mean where no mixture was better."""
        return torch.where(self.constant[:, None], self.mean, _predict(self.mixture, z))


def _predict(mixture: Mixture, z: Tensor) -> Tensor:
    return torch.cat([mixture.mean(_with_constant(rows)) for rows in z.split(_ROWS, 1)], 1)


def _with_constant(z: Tensor) -> Tensor:
    """Append a column of ones, for the intercept."""
    return torch.cat([z, torch.ones_like(z[..., :1])], 2)


def _others(dim: int, device: torch.device) -> Tensor:
    """Return the (d, d + 1) mask of inputs per dimension: every other dimension and the constant."""
    return ~torch.eye(dim + 1, dtype=torch.bool, device=device)[:-1]
