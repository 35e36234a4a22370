"""Ridge regression of every dimension on the others, from one inverse."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.predictors.predictor import Predict, Predictor

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

    def __init__(self, ridge: float = 1e-8) -> None:
        if ridge < 0:
            raise InputError(f"ridge: {ridge} received; give a number >= 0")
        self.ridge = ridge

    def fit(
        self,
        train: Float[Tensor, "n d"],
        validation: Float[Tensor, "m d"],
        generator: torch.Generator,
    ) -> Predict:
        """Invert the covariance of the training codes; validation codes are not used."""
        exact = _in_float64(train)
        mean = exact.mean(0)
        centred = exact - mean
        covariance = centred.T @ centred / len(centred)
        covariance.diagonal().add_(self.ridge * covariance.diagonal().mean())
        precision = _inverse(covariance)

        def predict(z: Tensor) -> Tensor:
            z64 = _in_float64(z)
            residual = (z64 - mean) @ precision / precision.diagonal()
            return (z64 - residual).to(z.device)

        return predict


def _in_float64(z: Tensor) -> Tensor:
    """Return z in float64, on the CPU where its device has none (MPS)."""
    return z.cpu().double() if z.device.type == "mps" else z.double()


def _inverse(covariance: Tensor) -> Tensor:
    """Invert a covariance; a singular one by its pseudo-inverse."""
    inverse, info = torch.linalg.inv_ex(covariance)
    if int(info) or not bool(torch.isfinite(inverse).all()):
        return torch.linalg.pinv(covariance, hermitian=True)
    return inverse
