"""A mixture of linear experts a dimension, fitted by EM."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.predictors.em import Mixture, expectation_maximisation, maximisation
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["ExpertsPredictor"]

_SHARPNESS = 3.0
_ROWS = 8192


class ExpertsPredictor(Predictor):
    """E[z_i | others] = sum_k softmax_k(W x) b_k'x: piecewise linear, without a learning rate.

    EM from several random gates, all at once; after ``trial`` iterations every dimension goes on from the
    start that predicts its validation codes best. Each keeps the iteration of lowest validation error, and
    EM ends when none has improved for ``patience`` iterations. The training mean counts as iteration 0:
    independent codes score zero, not below.

    Args:
        experts: K.
        starts: random gates.
        trial: iterations before all starts but one are dropped.
        iterations: at most.
        patience: iterations without improvement in any dimension before the end.
        ridge: on all coefficients of standardised codes, relative to the number of rows.

    Raises:
        InputError: a setting that is not positive.
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
            "ridge": ridge,
        }
        for name, value in settings.items():
            if value <= 0:
                raise InputError(f"{name}: {value} received; give a positive number")
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
        """Fit all mixtures; the best iteration of each is kept, dimension by dimension."""
        with torch.autocast(train.device.type, enabled=False):
            train, validation = train.float(), validation.float()
            best = _Best(self._tried(train, validation, generators), train, validation)
            own = ~torch.eye(train.shape[2] + 1, dtype=torch.bool, device=train.device)[:-1]
            steps = expectation_maximisation(_inputs(train), train, best.mixture, mask=own, ridge=self.ridge)
            for _ in range(self.iterations - self.trial):
                if best.update(next(steps)) > self.patience:
                    break

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            with torch.autocast(z.device.type, enabled=False):
                return Regression(z, best.predict(z.float()))

        return outcome

    def _tried(self, train: Tensor, validation: Tensor, generators: Sequence[torch.Generator]) -> Mixture:
        """Return, dimension by dimension, the best of the starts after a few iterations."""
        p, _, d = train.shape
        own = ~torch.eye(d + 1, dtype=torch.bool, device=train.device)[:-1].repeat(self.starts, 1)
        size = (self.starts * d, self.experts, d + 1)
        draws = [torch.randn(size, generator=g, dtype=torch.float32) for g in generators]
        gate = torch.stack(draws).to(train.device) * own[:, None]
        gate = _SHARPNESS * gate / gate.norm(dim=3, keepdim=True)
        x, y = _inputs(train), train.repeat(1, 1, self.starts)
        first = Mixture(gate, torch.zeros_like(gate), torch.ones_like(gate[..., 0]))
        mixture = maximisation(x, y, first.log_gate(x).exp(), "linear", mask=own, ridge=self.ridge)
        steps = expectation_maximisation(x, y, mixture, mask=own, ridge=self.ridge)
        for _ in range(self.trial):
            mixture = next(steps)
        error = (validation.repeat(1, 1, self.starts) - mixture.mean(_inputs(validation))).square().mean(1)
        chosen = error.unflatten(1, (self.starts, d)).argmin(1) * d + torch.arange(d, device=error.device)
        rows = torch.arange(p, device=error.device)[:, None]
        assert mixture.variance is not None
        return Mixture(*(part[rows, chosen] for part in (mixture.gate, mixture.experts, mixture.variance)))


def _inputs(z: Tensor) -> Tensor:
    """Append the column of ones."""
    return torch.cat([z, torch.ones_like(z[..., :1])], 2)


class _Best:
    """The best mixture so far of every dimension, by validation error."""

    def __init__(self, mixture: Mixture, train: Tensor, validation: Tensor) -> None:
        self.validation = validation
        self.center = train.mean(1, keepdim=True)
        self.error = (validation - self.center).square().mean(1)
        self.constant = torch.ones_like(self.error, dtype=torch.bool)
        self.waited = torch.zeros_like(self.error, dtype=torch.long)
        self.mixture = mixture
        self.update(mixture)

    def update(self, mixture: Mixture) -> int:
        """Keep what improved; return the iterations that the last network to improve has waited."""
        error = (self.validation - _predict(mixture, self.validation)).square().mean(1)
        improved = error < self.error
        self.error = torch.where(improved, error, self.error)
        self.constant &= ~improved
        self.waited = torch.where(improved, 0, self.waited + 1)
        wide = improved[..., None, None]
        assert mixture.variance is not None
        assert self.mixture.variance is not None
        self.mixture = Mixture(
            torch.where(wide, mixture.gate, self.mixture.gate),
            torch.where(wide, mixture.experts, self.mixture.experts),
            torch.where(wide[..., 0], mixture.variance, self.mixture.variance),
        )
        return int(self.waited.min())

    def predict(self, z: Tensor) -> Tensor:
        """Predict by the best mixtures, or by the training mean where none did better."""
        return torch.where(self.constant[:, None], self.center, _predict(self.mixture, z))


def _predict(mixture: Mixture, z: Tensor) -> Tensor:
    return torch.cat([mixture.mean(_inputs(part)) for part in z.split(_ROWS, 1)], 1)
