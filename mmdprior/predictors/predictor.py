"""The contract of a predictor: every code dimension from all the others, all at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Predict", "Predictor"]

Predict = Callable[[Tensor], Tensor]
"""(n, d) codes -> (n, d) predictions; column i was made without column i."""


class Predictor(ABC):
    """Fits d regressors, one a dimension, on the device of the codes.

    Attributes:
        uses_validation: whether `fit` needs the validation codes; if not, they join the training ones.
    """

    uses_validation: bool

    @abstractmethod
    def fit(
        self,
        train: Float[Tensor, "n d"],
        validation: Float[Tensor, "m d"],
        generator: torch.Generator,
    ) -> Predict:
        """Fit on codes and return the function that predicts.

        Args:
            train: codes to fit on.
            validation: codes to stop by; disjoint from those the score is computed on.
            generator: a CPU generator, so that a fit does not depend on the device.
        """
