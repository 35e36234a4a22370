"""Regressors of scikit-learn's kind, one a dimension in turn: slow, and a check from outside."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["LoopedPredictor", "TreesPredictor"]


class LoopedPredictor(Predictor):
    """Any regressor with ``fit(X, y)`` and ``predict(X)``, fitted to one dimension after another.

    On the CPU. The regressor gets training and validation rows together, without column i.

    Args:
        make: from a seed to a fresh regressor.
    """

    uses_validation = False

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Fit p d regressors."""
        regressors = [
            [self._one(problem, i, generator) for i in range(problem.shape[1])]
            for problem, generator in zip(train.cpu().numpy(), generators, strict=True)
        ]

        def outcome(z: Tensor) -> Regression:
            prediction = [
                np.stack([one.predict(np.delete(codes, i, 1)) for i, one in enumerate(row)], 1)
                for codes, row in zip(z.cpu().numpy(), regressors, strict=True)
            ]
            return Regression(z, torch.from_numpy(np.stack(prediction)).to(z))

        return outcome

    def _one(self, codes: np.ndarray, dimension: int, generator: torch.Generator) -> Any:
        regressor = self.make(int(torch.randint(2**31 - 1, (), generator=generator)))
        return regressor.fit(np.delete(codes, dimension, 1), codes[:, dimension])


class TreesPredictor(LoopedPredictor):
    """Gradient-boosted trees of scikit-learn, stopped early on a quarter of their rows.

    Raises:
        InputError: scikit-learn is missing.
    """

    def __init__(self) -> None:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ImportError:
            raise InputError(
                "predictor: 'trees' received; it needs scikit-learn, pip install 'mmdprior[metrics]'"
            ) from None
        super().__init__(
            lambda seed: HistGradientBoostingRegressor(
                early_stopping=True, validation_fraction=0.25, random_state=seed
            )
        )
