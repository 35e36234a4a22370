"""Penalties on the covariance of the codes: squared correlations, and the variance terms of VICReg."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.standardise import standardised

__all__ = ["Decorrelation", "VICReg"]


class Decorrelation(CodePenalty):
    """sum_{i != j} C_ij^2 for the correlation matrix C of the codes: the linear baseline of independence.

    It is the redundancy term of Barlow Twins (Zbontar et al., arXiv 2103.03230, eq. 1) for one set of codes.
    Independent codes have d (d - 1) / (n - 1) on average. It does not depend on the scale of the codes.

    ``terms`` has ``correlation``, the root mean square over pairs. Published factor in Barlow Twins: 0.0051.

    Example:
        >>> import torch
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> Decorrelation()(z)
        tensor(0.)
        >>> Decorrelation()(z[:, :1].repeat(1, 3))  # six pairs of correlation 1
        tensor(6.)
    """

    name = "decorrelation"

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return "sum of squared correlations"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the sum over pairs."""
        z = standardised(latent.sample)
        value = _off_diagonal(z.T @ z / len(z)).square().sum()
        pairs = max(1, z.shape[1] * (z.shape[1] - 1))
        return value, {"correlation": (value.detach() / pairs).sqrt()}


class VICReg(CodePenalty):
    """mu V + nu C, the variance and covariance terms of VICReg (Bardes et al., arXiv 2105.04906, eq. 1 to 4).

    V = mean_i max(0, target - sqrt(var_i + 1e-4)) keeps the standard deviations above a target, and C =
    sum_{i != j} cov_ij^2 / d decorrelates. The invariance term has no counterpart for one set of codes: the
    reconstruction takes its place.

    ``terms`` has ``variance`` and ``covariance``, the two terms. Published, and the defaults here: mu 25, nu
    1, target 1.

    Args:
        mu: factor of the variance term.
        nu: factor of the covariance term.
        target: smallest standard deviation without a penalty.

    Raises:
        InputError: a negative factor, or a target that is not positive.

    Example:
        >>> import torch
        >>> penalty = VICReg()
        >>> _ = penalty(2 * torch.randn(500, 3))
        >>> float(penalty.terms["variance"])
        0.0
    """

    name = "vicreg"

    def __init__(self, mu: float = 25.0, nu: float = 1.0, target: float = 1.0) -> None:
        super().__init__()
        self.mu = positive_number("mu", mu, allow_zero=True)
        self.nu = positive_number("nu", nu, allow_zero=True)
        self.target = positive_number("target", target)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"{self.mu:g} x hinge of standard deviations at {self.target:g} + {self.nu:g} x covariances^2"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the weighted sum of the two terms."""
        z = latent.sample
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (len(z) - 1)
        deviations = (covariance.diagonal() + 1e-4).sqrt()
        hinge = (self.target - deviations).clamp(min=0).mean()
        off_diagonal = _off_diagonal(covariance).square().sum() / z.shape[1]
        value = self.mu * hinge + self.nu * off_diagonal
        return value, {"variance": hinge, "covariance": off_diagonal}


def _off_diagonal(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Return a matrix with zeros on the diagonal."""
    return matrix - torch.diag(matrix.diagonal())
