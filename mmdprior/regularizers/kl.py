"""The per-sample KL penalty of a VAE."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian, PriorLike, as_prior
from mmdprior.regularizers.regularizer import Regularizer

__all__ = ["KL"]


class KL(Regularizer):
    """Mean over the batch of KL(q(z|x) || p), in nats.

    For p = N(m, diag(s^2)) in closed form, 1/2 sum_i ((mean_i - m_i)^2 + var_i) / s_i^2 - 1 -
    log(var_i / s_i^2) (Kingma & Welling, arXiv 1312.6114, appendix B); for any other prior with a
    ``log_prob`` by one draw a sample, log q(z|x) - log p(z). With a capacity C the value is
    |KL - C(t)|, C growing linearly to its end (Burgess et al., arXiv 1804.03599, eq. 8); its gamma
    is the weight.

    Args:
        prior: N(0, I) by default, else anything that `as_prior` takes and that has ``log_prob``.
        capacity: C at the end, in nats; None for the plain KL.
        capacity_steps: steps over which C grows from 0.

    Raises:
        InputError: a prior without density, or a negative capacity.
    """

    def __init__(
        self,
        prior: PriorLike | None = None,
        capacity: float | None = None,
        capacity_steps: int = 100_000,
    ) -> None:
        super().__init__()
        self.prior = None if prior is None else as_prior(prior)
        if self.prior is not None:
            self.prior.log_prob(self.prior.sample(1))
        if capacity is not None and not (math.isfinite(capacity) and capacity >= 0):
            raise InputError(f"capacity: {capacity} received; give nats >= 0, or leave it out")
        if capacity_steps < 1:
            raise InputError(f"capacity_steps: {capacity_steps} received; give at least 1")
        self.capacity = capacity
        self.capacity_steps = capacity_steps

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Ask for a posterior with a variance, and for a prior of the latent's dimension."""
        if not stochastic:
            raise InputError("latent: deterministic received; a kl penalty needs model.posterior: gaussian")
        if self.prior is not None and self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch.

        Raises:
            InputError: codes without a posterior variance, or of another dimension than the prior.
        """
        if not isinstance(latent, Latent):
            raise InputError("latent: a tensor received; a kl penalty needs a Latent with log_var")
        self.check(dim=latent.dim, stochastic=latent.stochastic)
        kl = self._per_sample(latent).mean()
        self.terms = {"kl": kl.detach()}
        if self.capacity is None:
            return kl
        return (kl - self.capacity * min(step / self.capacity_steps, 1.0)).abs()

    def _per_sample(self, latent: Latent) -> Float[Tensor, "n"]:
        dtype = torch.promote_types(latent.mean.dtype, torch.float32)
        mean, log_var = latent.mean.to(dtype), _log_var(latent).to(dtype)
        if self.prior is None:
            return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        if isinstance(self.prior, Gaussian):
            m, s = self.prior.mean.to(mean), self.prior.scale.to(mean)
            ratio = log_var - 2 * s.log()
            return 0.5 * (((mean - m) / s).square() + ratio.exp() - 1 - ratio).sum(1)
        z = latent.sample.to(mean)
        standardised = (z - mean) * torch.exp(-0.5 * log_var)
        log_q = -0.5 * (standardised.square() + log_var + math.log(2 * math.pi)).sum(1)
        return log_q - self.prior.log_prob(z)


def _log_var(latent: Latent) -> Tensor:
    if latent.log_var is None:
        raise InputError("latent: log_var None received; a kl penalty needs a gaussian posterior")
    return latent.log_var
