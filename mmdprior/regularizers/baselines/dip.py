"""DIP-VAE: the covariance of the codes is brought to the identity."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.kl import kl_divergence

__all__ = ["DIP"]

Variant = Literal["i", "ii"]


class DIP(CodePenalty):
    """KL + lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2.

    C is the covariance of the posterior means (DIP-VAE-I), or that of the codes: the covariance of the means
    plus the mean of the posterior variances on the diagonal (DIP-VAE-II). Kumar et al., arXiv 1711.00848, eq.
    6 and 7.

    ``terms`` has ``kl``, ``off_diagonal`` and ``diagonal``, the two sums. Published: lambda_d is 10 lambda_od
    for I, and equal to lambda_od for II, which are the defaults here. Values of lambda_od from 1 to 50 are
    usual (Locatello et al., arXiv 1811.12359); the default is 10.

    Args:
        variant: ``i``, the default, or ``ii``.
        lambda_od: factor of the squared covariances.
        lambda_d: factor of the squared differences of the variances from 1; by default 10 lambda_od for
            ``i``, and lambda_od for ``ii``.

    Raises:
        InputError: another variant, or a negative factor.

    Example:
        >>> from mmdprior import Latent
        >>> mean = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # uncorrelated
        >>> DIP()(Latent(mean, mean, torch.zeros(4, 2)))  # the KL: mean^2 / 2 per dimension
        tensor(1.)
        >>> DIP("ii")(Latent(mean, mean, torch.zeros(4, 2)))  # variances 2: 10 (2 - 1)^2 per dimension
        tensor(21.)
    """

    name = "dip"
    needs_posterior = True

    def __init__(
        self, variant: Variant = "i", lambda_od: float = 10.0, lambda_d: float | None = None
    ) -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise InputError(f"variant: {variant!r} received; give i or ii")
        self.variant = variant
        self.lambda_od = positive_number("lambda_od", lambda_od, allow_zero=True)
        default = 10 * self.lambda_od if variant == "i" else self.lambda_od
        self.lambda_d = (
            default if lambda_d is None else positive_number("lambda_d", lambda_d, allow_zero=True)
        )

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        codes = "means" if self.variant == "i" else "codes"
        return f"KL + {self.lambda_od:g} cov^2 + {self.lambda_d:g} (var - 1)^2 of the {codes}"

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the penalty and its parts."""
        assert latent.log_var is not None
        kl = kl_divergence(latent)
        centred = latent.mean - latent.mean.mean(0)
        covariance = centred.T @ centred / len(centred)
        variance = covariance.diagonal()
        off_diagonal = (covariance - torch.diag(variance)).square().sum()
        if self.variant == "ii":
            variance = variance + latent.log_var.exp().mean(0)
        diagonal = (variance - 1).square().sum()
        value = kl + self.lambda_od * off_diagonal + self.lambda_d * diagonal
        return value, {"kl": kl, "off_diagonal": off_diagonal, "diagonal": diagonal}
