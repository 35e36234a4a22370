"""Ridge regression of every dimension on the others, from one inverse."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import covariance, inverse
from mmdprior.predictors.outcome import Regression
from mmdprior.predictors.predictor import Fitted, Predictor

__all__ = ["LinearPredictor"]


class LinearPredictor(Predictor):
    """Predict every dimension by ridge regression on the others: exact, deterministic, in float64.

    With P = (Cov + ridge I)^-1, the residual of dimension i given the others is (z - m) P_i / P_ii. One
    d x d inverse therefore gives all d regressions. Cov divides by n, so this is ridge regression with
    penalty n * ridge on centred codes of mean variance 1.

    Args:
        ridge: number added to the diagonal of the covariance, relative to the mean variance of the codes.
            The default keeps exactly dependent codes solvable, and changes no printed digit.

    Raises:
        InputError: ``ridge`` is negative.

    Example:
        >>> import torch
        >>> from mmdprior import lps
        >>> from mmdprior.predictors import LinearPredictor
        >>> z = torch.randn(1000, 2)
        >>> round(lps(torch.cat([z, z.sum(1, keepdim=True)], 1), LinearPredictor()).score, 3)
        1.0
    """

    uses_validation = False
    random = False

    def __init__(self, ridge: float = 1e-8) -> None:
        if ridge < 0:
            raise InputError(f"ridge: {ridge} received; give a number >= 0")
        self.ridge = ridge

    @torch.no_grad()
    def fit(
        self,
        train: Float[Tensor, "p n d"],
        validation: Float[Tensor, "p m d"],
        generators: Sequence[torch.Generator],
    ) -> Fitted:
        """Invert the covariance of the training codes; validation codes and generators are not used."""
        mean, cov = covariance(train)
        diagonal = cov.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.ridge * diagonal.mean(1, keepdim=True))
        precision = inverse(cov)
        # Column i of P, divided by P_ii, maps centred codes to the residual of dimension i.
        weights = precision / precision.diagonal(dim1=1, dim2=2)[:, None]

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            exact = in_float64(z)
            return Regression(exact, torch.baddbmm(exact, exact - mean, weights, alpha=-1))

        return outcome
