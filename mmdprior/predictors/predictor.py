"""The contract of a predictor: every code dimension from all the others, many problems at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.outcome import Outcome

__all__ = ["Fitted", "Predictor"]

Fitted = Callable[[Tensor], Outcome]
"""(p, k, d) held-out codes -> what came of predicting them; column i is predicted without column i."""


class Predictor(ABC):
    """Fits d regressors, one a dimension, for p problems, on the device of the codes.

    A problem is one set of rows: the real codes, a fold of them, their column-shuffled null, or the same
    rows under another seed. Problems share nothing, so fitting them together or one by one is the same
    but for rounding.

    Attributes:
        uses_validation: whether `fit` needs the validation codes; if not, they join the training ones.
        random: whether a fit draws random numbers, so that seeds are worth averaging over.
        measure: what `Outcome.r2` is, in a few words for people.
    """

    uses_validation: bool
    random: bool = True
    measure: str = "held-out R2"

    @abstractmethod
    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Fit on codes and return the function that predicts.

        Args:
            train: codes to fit on.
            validation: codes to stop or to choose by; disjoint from those the score is computed on.
            generators: one a problem, on the CPU, so that a fit depends neither on the device nor on the
                problems beside it.
        """
