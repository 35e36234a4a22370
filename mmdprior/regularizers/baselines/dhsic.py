"""dHSIC of the codes of a batch as a penalty."""

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.hsic import dhsic_value
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.standardise import standardised

__all__ = ["DHSIC"]


class DHSIC(CodePenalty):
    """dHSIC: the squared MMD between the codes and the product of their marginals.

    Pfister et al., Journal of the Royal Statistical Society B 80, 2018, definition 2.6, with an RBF of
    length-scale l per dimension. Codes are standardised by the batch, so that the penalty does not depend on
    their scale. The V-statistic is at least 0. For independent codes it is positive, of order 1/n.

    `mmdprior.metrics.hsic.dhsic` is the same statistic, with a permutation test. No published weight exists
    for autoencoders without labels.

    ``terms`` has ``dhsic``, the value.

    Args:
        lengthscale: l, in standard deviations of the codes; None, the default, for that of the metric,
            l^2 = d/4.

    Raises:
        InputError: a length-scale that is not positive.

    Example:
        >>> import torch
        >>> z = torch.randn(256, 3)
        >>> dependent = torch.cat([z[:, :2], z[:, :1]], 1)
        >>> bool(DHSIC()(dependent) > 5 * DHSIC()(z))
        True
    """

    name = "dhsic"

    def __init__(self, lengthscale: float | None = None) -> None:
        super().__init__()
        self.lengthscale = None if lengthscale is None else positive_number("lengthscale", lengthscale)

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        scale = "sqrt(d)/2" if self.lengthscale is None else f"{self.lengthscale:g}"
        return f"dHSIC of standardised codes, length-scale {scale}"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that there are at least two dimensions."""
        if dim < 2:
            raise InputError(f"latent: {dim} dimension received; a dhsic penalty needs 2 or more")

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return dHSIC."""
        z = standardised(latent.sample)
        lengthscale = math.sqrt(z.shape[1]) / 2 if self.lengthscale is None else self.lengthscale
        value = dhsic_value(z / (math.sqrt(2) * lengthscale))
        return value, {"dhsic": value}
