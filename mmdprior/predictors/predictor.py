"""Contract of a predictor: predict every code dimension from the others, for many problems at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.predictors.outcome import Outcome

__all__ = ["Fitted", "Predictor"]

Fitted = Callable[[Tensor], Outcome]
"""(p, k, d) held-out codes -> their outcome; column i is predicted from the other columns only."""


class Predictor(ABC):
    """Fits d regressors, one per dimension, for p problems, on the device of the codes.

    A problem is one set of rows: the codes, one fold of them, a column-shuffled copy, or the same rows
    with another seed. Problems share nothing. Fitting them together or one by one gives the same result
    up to rounding.

    `fit` returns a function of held-out codes. It returns a `Regression` (targets and predicted means) or a
    `Classification` (bins and their predicted probabilities), from which `mmdprior.lps` computes the score,
    its p-value and its interval. `mmdprior.testing.check_predictor` checks the contract.

    Attributes:
        uses_validation: whether `fit` needs validation codes. If not, `lps` adds them to the training
            codes, and passes a validation tensor without rows.
        random: whether `fit` draws random numbers, so that averaging over seeds has an effect.
        measure: name of the score that `Outcome.r2` returns, for printed results.

    Example:
        A predictor that copies the most correlated other dimension, on standardised codes:

        >>> import torch
        >>> from mmdprior import lps
        >>> from mmdprior.predictors import Predictor, Regression
        >>> class BestCopy(Predictor):
        ...     uses_validation = False
        ...     random = False
        ...
        ...     def fit(self, train, validation, generators):
        ...         centred = train - train.mean(1, keepdim=True)
        ...         covariance = centred.mT @ centred / train.shape[1]  # (p, d, d)
        ...         variance = covariance.diagonal(dim1=1, dim2=2)[:, None]
        ...         off = covariance - torch.diag_embed(variance[:, 0])  # never uses its own dimension
        ...         source = off.abs().argmax(1, keepdim=True)  # (p, 1, d)
        ...         slope = off.gather(1, source) / variance.gather(2, source)
        ...         mean = train.mean(1, keepdim=True)
        ...
        ...         def outcome(z):
        ...             inputs = (z - mean).gather(2, source.expand_as(z))
        ...             return Regression(z, mean + slope * inputs)
        ...
        ...         return outcome
        >>> z = torch.randn(2000, 3)
        >>> z[:, 2] = z[:, 0] + 0.1 * z[:, 2]
        >>> lps(z, BestCopy()).r2 > 0.9
        array([ True, False,  True])
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
        """Fit on codes and return the function that predicts held-out codes.

        Args:
            train: codes to fit on, p problems of n rows.
            validation: codes for early stopping or model selection, disjoint from the test codes.
            generators: one random stream per problem, on the CPU, so that a fit depends neither on the
                device nor on the problems in the same batch.

        Returns:
            A function from test codes, (p, k, d), to their `Outcome`.
        """
