"""The per-sample KL penalty of a VAE."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian, PriorLike, as_prior
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.regularizers.regularizer import Regularizer, check_codes, codes_of
from mmdprior.tracing import may_store_results

__all__ = ["KL"]


class KL(Regularizer):
    """Mean over the batch of KL(q(z|x) || p), in nats.

    For p = N(m, diag(s^2)) it has a closed form (Kingma & Welling, arXiv 1312.6114, appendix B),

        1/2 sum_i ((mean_i - m_i)^2 + var_i) / s_i^2 - 1 - log(var_i / s_i^2).

    For any other prior with a ``log_prob`` it is estimated by one draw per sample, log q(z|x) - log p(z).

    Behind the flow z = f(h) of a model, it is estimated by log q(h|x) - log p(f(h)) - log |det df/dh|: the KL
    to the density that the flow gives the encoder's codes. The model is then a VAE with a flow prior (Chen et
    al., arXiv 1611.02731, section 3.2).

    With a capacity C, the value is |KL - C(step)|, where C(step) grows linearly to C (Burgess et al., arXiv
    1804.03599, eq. 8). The gamma of that equation is the weight of the penalty.

    Args:
        prior: N(0, I) by default, otherwise anything that `as_prior` accepts and that has a ``log_prob``.
        capacity: final capacity C in nats; None, the default, for the plain KL.
        capacity_steps: steps over which the capacity grows from 0 to C.

    Raises:
        InputError: a prior without density, or a negative capacity.

    Example:
        >>> from mmdprior import Latent
        >>> mean, log_var = torch.full((8, 2), 1.0), torch.zeros(8, 2)
        >>> latent = Latent(mean + torch.randn(8, 2), mean, log_var)
        >>> KL()(latent)  # 1/2 per dimension
        tensor(1.)
        >>> KL(capacity=4.0, capacity_steps=100)(latent, step=50)  # |1 - 2|
        tensor(1.)
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
            self.prior.log_prob(self.prior.sample(1))  # raises now, not during training
        if capacity is not None:
            positive_number("capacity", capacity, allow_zero=True)
        positive_int("capacity_steps", capacity_steps)
        self.capacity = capacity
        self.capacity_steps = capacity_steps

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the posterior has a variance and that prior and latent have the same dimension."""
        if not stochastic:
            raise InputError(
                "latent: deterministic received; a kl penalty needs model.posterior: gaussian, or log_var in "
                "the Latent"
            )
        if self.prior is not None and self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def forward(
        self, latent: Latent | Tensor, *, step: int = 0, labels: Tensor | None = None
    ) -> Float[Tensor, ""]:
        """Return the penalty of a batch.

        Raises:
            InputError: codes without a posterior variance, or a prior of another dimension.
        """
        if not isinstance(latent, Latent):
            raise InputError(
                f"latent: {type(latent).__name__} received; a kl penalty needs Latent(sample, mean, log_var)"
            )
        codes = codes_of(latent, least=1)
        self.check(dim=latent.dim, stochastic=latent.stochastic)
        for name in ("mean", "log_var"):
            part = getattr(latent, name)
            check_codes(f"latent.{name}", part)
            if part.shape != codes.shape:
                raise InputError(
                    f"latent.{name}: shape {tuple(part.shape)} received; the sample has {tuple(codes.shape)}"
                )
        kl = self._per_sample(latent).mean()
        if may_store_results():
            self.terms = {"kl": kl.detach()}
        if self.capacity is None:
            return kl
        return (kl - self.capacity * min(step / self.capacity_steps, 1.0)).abs()

    def _per_sample(self, latent: Latent) -> Float[Tensor, "n"]:
        if latent.base is not None and latent.log_det is not None:
            return self._behind_flow(latent, latent.base, latent.log_det)
        dtype = torch.promote_types(latent.mean.dtype, torch.float32)
        assert latent.log_var is not None  # by `check`
        mean, log_var = latent.mean.to(dtype), latent.log_var.to(dtype)
        if self.prior is None:
            return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        if isinstance(self.prior, Gaussian):
            m, s = self.prior.mean.to(mean), self.prior.scale.to(mean)
            log_ratio = log_var - 2 * s.log()  # log(var / s^2)
            return 0.5 * (((mean - m) / s).square() + log_ratio.exp() - 1 - log_ratio).sum(1)
        z = latent.sample.to(mean)
        return _log_density(z, mean, log_var) - self.prior.log_prob(z)

    def _behind_flow(self, latent: Latent, before: Latent, log_det: Tensor) -> Float[Tensor, "n"]:
        """Return log q(h|x) - log p(f(h)) - log |det df/dh| at one sample h per row."""
        assert before.log_var is not None  # the latent behind a flow is stochastic if that before it is
        log_q, z = _log_density(before.sample, before.mean, before.log_var), latent.sample
        zero = torch.zeros_like(z)
        log_p = _log_density(z, zero, zero) if self.prior is None else self.prior.log_prob(z)
        return log_q - log_p - log_det


def _log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Float[Tensor, "n"]:
    """Return the log-density in nats of each row of z under its own diagonal Gaussian."""
    standardised = (z - mean) * torch.exp(-0.5 * log_var)
    return -0.5 * (standardised.square() + log_var + math.log(2 * math.pi)).sum(1)
