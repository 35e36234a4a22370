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
    """Exact and deterministic, in float64.

    With P = (Cov + ridge I)^-1 the residual of dimension i given the others is (z - m) P_i / P_ii, so
    one d x d inverse serves all d regressions (block inversion; Cov divides by n, hence this is ridge
    regression with penalty n * ridge on centred codes of mean variance 1).

    Args:
        ridge: added to the diagonal of the covariance, in units of the codes' mean variance. The default
            changes no digit that is printed and keeps exactly dependent codes solvable.

    Raises:
        InputError: a negative ridge.
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
        """Invert the covariance of the training codes; validation codes are not used."""
        mean, cov = covariance(train)
        diagonal = cov.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.ridge * diagonal.mean(1, keepdim=True))
        precision = inverse(cov)
        weights = precision / precision.diagonal(dim1=1, dim2=2)[:, None]

        @torch.no_grad()
        def outcome(z: Tensor) -> Regression:
            exact = in_float64(z)
            return Regression(exact, torch.baddbmm(exact, exact - mean, weights, alpha=-1))

        return outcome
