"""Regressors with the interface of scikit-learn, fitted to one dimension after another."""

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
    """Any regressor with ``fit(X, y)`` and ``predict(X)``, fitted to one dimension after another on the CPU.

    It is slow, and serves as an independent check of the batched predictors.

    The regressor of dimension i gets training and validation rows together, without column i.

    Args:
        make: function from an integer seed to a new regressor.

    Example:
        >>> import torch
        >>> from sklearn.neighbors import KNeighborsRegressor
        >>> from mmdprior import lps
        >>> from mmdprior.predictors import LoopedPredictor
        >>> z = torch.randn(500, 2)
        >>> z[:, 1] = z[:, 0].sin()
        >>> bool(lps(z, LoopedPredictor(lambda seed: KNeighborsRegressor(5))).r2[1] > 0.9)
        True
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
        """Fit p d regressors in a loop."""
        regressors = [
            [self._fit_dimension(problem, i, generator) for i in range(problem.shape[1])]
            for problem, generator in zip(train.cpu().numpy(), generators, strict=True)
        ]

        def outcome(z: Tensor) -> Regression:
            prediction = [
                np.stack([one.predict(np.delete(codes, i, 1)) for i, one in enumerate(row)], 1)
                for codes, row in zip(z.cpu().numpy(), regressors, strict=True)
            ]
            return Regression(z, torch.from_numpy(np.stack(prediction)).to(z))

        return outcome

    def _fit_dimension(self, codes: np.ndarray, dimension: int, generator: torch.Generator) -> Any:
        regressor = self.make(int(torch.randint(2**31 - 1, (), generator=generator)))
        return regressor.fit(np.delete(codes, dimension, 1), codes[:, dimension])


class TreesPredictor(LoopedPredictor):
    """Gradient-boosted trees of scikit-learn, stopped early on a quarter of their rows.

    Raises:
        InputError: scikit-learn is not installed.

    Example:
        >>> from mmdprior.predictors import TreesPredictor
        >>> TreesPredictor().measure
        'held-out R2'
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
