"""The per-sample KL penalty of a VAE."""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian, Prior, PriorLike, Vamp, as_prior
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.regularizers.code_penalty import CodePenalty

__all__ = ["KL", "kl_divergence"]


class KL(CodePenalty):
    """Mean over the batch of KL(q(z|x) || p), in nats.

    For p = N(m, diag(s^2)) it has a closed form (Kingma & Welling, arXiv 1312.6114, appendix B),

        1/2 sum_i ((mean_i - m_i)^2 + var_i) / s_i^2 - 1 - log(var_i / s_i^2).

    For any other prior with a ``log_prob`` it is estimated by one draw per sample, log q(z|x) - log p(z).

    After the flow z = f(h) of a model, it is estimated by log q(h|x) - log p(f(h)) - log |det df/dh|: the KL
    to the density that the flow gives the encoder's codes. The model is then a VAE with a flow prior (Chen et
    al., arXiv 1611.02731, section 3.2).

    With a capacity C, the value is gamma |KL - C(step)|, where C(step) grows linearly to C (Burgess et al.,
    arXiv 1804.03599, eq. 8). The published setting for dSprites is gamma 1000 and C = 25 nats after 100,000
    steps. By default gamma is 1, so that the weight of the penalty takes its place.

    Args:
        prior: N(0, I) by default, otherwise anything that `as_prior` accepts and that has a ``log_prob``.
        capacity: final capacity C in nats; None, the default, for the plain KL.
        capacity_steps: steps over which the capacity grows from 0 to C.
        gamma: factor of |KL - C(step)|, only with a capacity; 1 by default.

    Raises:
        InputError: a prior without density, a negative capacity or gamma, or gamma without a capacity.

    Example:
        >>> from mmdprior import Latent
        >>> mean, log_var = torch.full((8, 2), 1.0), torch.zeros(8, 2)
        >>> latent = Latent(mean + torch.randn(8, 2), mean, log_var)
        >>> KL()(latent)  # 1/2 per dimension
        tensor(1.)
        >>> KL(capacity=4.0, capacity_steps=100)(latent, step=50)  # |1 - 2|
        tensor(1.)
    """

    name = "kl"
    least = 1
    needs_posterior = True

    def __init__(
        self,
        prior: PriorLike | None = None,
        capacity: float | None = None,
        capacity_steps: int = 100_000,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.prior = None if prior is None else as_prior(prior)
        if self.prior is not None and not isinstance(self.prior, Vamp):
            self.prior.log_prob(self.prior.sample(1))  # raises now, not during training
        if capacity is not None:
            positive_number("capacity", capacity, allow_zero=True)
        positive_int("capacity_steps", capacity_steps)
        self.capacity = capacity
        self.capacity_steps = capacity_steps
        self.gamma = positive_number("gamma", gamma, allow_zero=True)
        if capacity is None and gamma != 1.0:
            raise InputError(f"gamma: {gamma} received without a capacity; give capacity, or use the weight")

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        prior = "N(0, I)" if self.prior is None else f"{type(self.prior).__name__}({self.prior.dim})"
        if self.capacity is None:
            return f"KL to {prior}"
        return (
            f"{self.gamma:g} x |KL to {prior} - C|, C up to {self.capacity:g} in {self.capacity_steps} steps"
        )

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the posterior has a variance and that prior and latent have the same dimension."""
        super().check(dim=dim, stochastic=stochastic)
        if self.prior is not None and self.prior.dim != dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def before_training(
        self, *, model: nn.Module, images: int, examples: Callable[[int], Tensor] | None = None
    ) -> None:
        """Pass model and training images to a `Vamp` prior."""
        if isinstance(self.prior, Vamp) and examples is not None:
            self.prior.attach(model, examples(self.prior.count))

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return the penalty and the KL."""
        kl = kl_divergence(latent, self.prior)
        terms = {"kl": kl}
        if self.capacity is None:
            return kl, terms
        return self.gamma * (kl - self.capacity * min(step / self.capacity_steps, 1.0)).abs(), terms


def kl_divergence(latent: Latent, prior: Prior | None = None) -> Float[Tensor, ""]:
    """Return the mean over the batch of KL(q(z|x) || p) in nats, as `KL` defines it.

    Args:
        latent: codes with a variance, in float32 or float64.
        prior: p; None, the default, for N(0, I).
    """
    assert latent.log_var is not None
    mean, log_var = latent.mean, latent.log_var
    if latent.base is not None and latent.log_det is not None:
        return _behind_flow(latent.sample, latent.base, latent.log_det, prior).mean()
    if prior is None:
        return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
    if isinstance(prior, Gaussian):
        m, s = prior.mean.to(mean), prior.scale.to(mean)
        log_ratio = log_var - 2 * s.log()  # log(var / s^2)
        return 0.5 * (((mean - m) / s).square() + log_ratio.exp() - 1 - log_ratio).sum(1).mean()
    return (_log_density(latent.sample, mean, log_var) - prior.log_prob(latent.sample)).mean()


def _behind_flow(z: Tensor, before: Latent, log_det: Tensor, prior: Prior | None) -> Float[Tensor, "n"]:
    """Return log q(h|x) - log p(f(h)) - log |det df/dh| at one sample h per row."""
    assert before.log_var is not None  # the latent after a flow is stochastic if that before it is
    log_q = _log_density(before.sample, before.mean, before.log_var)
    zero = torch.zeros_like(z)
    log_p = _log_density(z, zero, zero) if prior is None else prior.log_prob(z)
    return log_q - log_p - log_det


def _log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Float[Tensor, "n"]:
    """Return the log-density in nats of each row of z under its own diagonal Gaussian."""
    standardised = (z - mean) * torch.exp(-0.5 * log_var)
    return -0.5 * (standardised.square() + log_var + math.log(2 * math.pi)).sum(1)
