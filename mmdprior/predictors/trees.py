"""Regressors with the interface of scikit-learn, fitted to one dimension after another."""

import itertools
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

    The regressor of dimension i gets training and validation rows together, without column i. One that
    validates itself on some of these rows splits them without regard to groups of rows; `TreesPredictor`
    shows how to validate on whole groups.

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
        problems = zip(train.cpu().numpy(), validation.cpu().numpy(), generators, strict=True)
        regressors = [
            [self._fit_dimension(rows, held_out, i, generator) for i in range(rows.shape[1])]
            for rows, held_out, generator in problems
        ]

        def outcome(z: Tensor) -> Regression:
            prediction = [
                np.stack([one.predict(np.delete(codes, i, 1)) for i, one in enumerate(row)], 1)
                for codes, row in zip(z.cpu().numpy(), regressors, strict=True)
            ]
            return Regression(z, torch.from_numpy(np.stack(prediction)).to(z))

        return outcome

    def _fit_dimension(
        self, codes: np.ndarray, validation: np.ndarray, dimension: int, generator: torch.Generator
    ) -> Any:
        regressor = self.make(int(torch.randint(2**31 - 1, (), generator=generator)))
        return regressor.fit(np.delete(codes, dimension, 1), codes[:, dimension])


class TreesPredictor(LoopedPredictor):
    """Gradient-boosted trees of scikit-learn, with the number of trees that predicts validation codes best.

    The training mean is the candidate without trees, so independent codes score about zero, not below.

    Raises:
        InputError: scikit-learn is not installed.

    Example:
        >>> from mmdprior.predictors import TreesPredictor
        >>> TreesPredictor().measure
        'held-out R2'
    """

    uses_validation = True

    def __init__(self) -> None:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
        except ImportError:
            raise InputError(
                "predictor: 'trees' received; it needs scikit-learn, pip install 'mmdprior[metrics]'"
            ) from None
        super().__init__(lambda seed: HistGradientBoostingRegressor(early_stopping=False, random_state=seed))

    def _fit_dimension(
        self, codes: np.ndarray, validation: np.ndarray, dimension: int, generator: torch.Generator
    ) -> "_BestStage":
        regressor = super()._fit_dimension(codes, validation, dimension, generator)
        return _BestStage(regressor, float(codes[:, dimension].mean()), validation, dimension)


class _BestStage:
    """Boosted trees up to the number of smallest validation error.

    Args:
        regressor: fitted trees.
        mean: prediction without trees.
        validation: (m, d) validation codes.
        dimension: column that the trees predict.
    """

    def __init__(self, regressor: Any, mean: float, validation: np.ndarray, dimension: int) -> None:
        self.regressor = regressor
        self.mean = mean
        target = validation[:, dimension]
        stages = regressor.staged_predict(np.delete(validation, dimension, 1))
        errors = [float(np.square(target - p).mean()) for p in itertools.chain([mean], stages)]
        self.trees = int(np.argmin(errors))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the prediction of the best number of trees."""
        if self.trees == 0:
            return np.full(len(x), self.mean)
        prediction: np.ndarray = next(
            itertools.islice(self.regressor.staged_predict(x), self.trees - 1, None)
        )
        return prediction
