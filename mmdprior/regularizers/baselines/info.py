"""InfoVAE: the KL of each posterior and the MMD of the aggregate posterior."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels import RBF, Kernel
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian, PriorLike
from mmdprior.priors.arguments import is_number
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.kl import kl_divergence
from mmdprior.regularizers.mmd import MMD

__all__ = ["Info"]


class Info(CodePenalty):
    """(1 - alpha) KL + (alpha + lambda - 1) MMD^2 (Zhao et al., arXiv 1706.02262, eq. 6).

    alpha 1 gives MMD-VAE, without a KL. The factor of the MMD must be positive: otherwise the codes are moved
    away from the prior.

    ``terms`` has ``kl`` and ``mmd``. The defaults are alpha 0 and lambda 1000, which bring the MMD to the
    scale of a KL in nats, and the kernel exp(-r^2 / d^2) of the authors' code, an RBF with l^2 = d^2 / 2. Its
    V-statistic of two samples is replaced by the estimator of `MMD`, which has no bias.

    Args:
        dim: number of latent dimensions d.
        alpha: weight of the mutual information of images and codes.
        lambda_: lambda of the paper.
        prior: the prior p; N(0, I) by default. The KL needs its ``log_prob``.
        kernel: kernel of the MMD; by default the published RBF.
        seed: seed of prior draws, as in `MMD`.

    Raises:
        InputError: alpha + lambda - 1 is not positive, or a prior without density.

    Example:
        >>> from mmdprior import Latent
        >>> mean = torch.randn(64, 3)
        >>> latent = Latent(mean + torch.randn(64, 3), mean, torch.zeros(64, 3))
        >>> penalty = Info(3)
        >>> bool(penalty(latent) > 0), list(penalty.terms)
        (True, ['kl', 'mmd'])
        >>> Info(3, alpha=-9.0, lambda_=9.001)
        Traceback (most recent call last):
        mmdprior.errors.InputError: lambda_: 9.001 received; alpha + lambda_ - 1 must be above 0, is -0.999
    """

    name = "info"
    needs_posterior = True

    def __init__(
        self,
        dim: int,
        alpha: float = 0.0,
        lambda_: float = 1000.0,
        prior: PriorLike | None = None,
        kernel: Kernel | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("lambda_", lambda_)):
            if not is_number(value) or not math.isfinite(value):
                raise InputError(f"{name}: {value!r} received; give a finite number")
        self.kl_weight, self.mmd_weight = 1.0 - alpha, alpha + lambda_ - 1.0
        if not self.mmd_weight > 0:
            raise InputError(
                f"lambda_: {lambda_} received; alpha + lambda_ - 1 must be above 0, is {self.mmd_weight:g}"
            )
        kernel = RBF(dim / math.sqrt(2)) if kernel is None else kernel
        self.mmd = MMD(Gaussian(dim) if prior is None else prior, kernel, seed=seed)
        if self.kl_weight != 0:
            self.mmd.prior.log_prob(self.mmd.prior.sample(1))  # raises now, not during training

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"{self.kl_weight:g} KL + {self.mmd_weight:g} x [{self.mmd.describe()}]"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the posterior has a variance and that prior and latent have the same dimension."""
        super().check(dim=dim, stochastic=stochastic)
        self.mmd.check(dim=dim, stochastic=stochastic)

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the penalty and its parts."""
        mmd = self.mmd(latent.sample, step=step)
        kl = kl_divergence(latent, self.mmd.prior) if self.kl_weight != 0 else torch.zeros_like(mmd)
        return self.kl_weight * kl + self.mmd_weight * mmd, {"kl": kl, "mmd": mmd}
