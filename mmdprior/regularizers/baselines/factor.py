"""FactorVAE: the total correlation of the codes, by a discriminator."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.precision import full_precision
from mmdprior.priors.arguments import positive_number
from mmdprior.regularizers.baselines.discriminator import Discriminator
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.kl import kl_divergence
from mmdprior.regularizers.regularizer import codes_of
from mmdprior.seeding import generator_options, stream

__all__ = ["Factor"]


class Factor(CodePenalty):
    """KL + gamma TC, with the total correlation by a density ratio (Kim & Mnih, arXiv 1802.05983, eq. 2).

    A discriminator distinguishes codes from codes whose dimensions are permuted separately, which are draws
    from the product of the marginals. TC is the mean of its logit over the codes (eq. 3). Each half of a
    batch gives one side: the codes are those of the first half, the permuted codes those of the second
    (algorithm 2).

    The logit is the difference of the two logits of the published discriminator. ``terms`` has ``kl`` and
    ``total_correlation``.

    Published, and the defaults here: gamma 35 for dSprites; a discriminator of six hidden layers of 1000
    units with leaky ReLUs of slope 0.2; its Adam 1e-4 with decay rates 0.5 and 0.9.

    Args:
        dim: number of latent dimensions d, at least 2.
        gamma: factor of the total correlation.
        hidden: widths of the hidden layers of the discriminator.
        seed: seed of its initial weights and of the permutations; None, the default, draws the permutations
            from torch's global generator.

    Raises:
        InputError: fewer than two dimensions, a negative gamma, or a width below 1.

    Example:
        >>> from mmdprior import Latent
        >>> penalty = Factor(3, hidden=[16, 16])
        >>> mean = torch.randn(64, 3)
        >>> latent = Latent(mean + 0.1 * torch.randn(64, 3), mean, torch.full((64, 3), -4.6))
        >>> penalty(latent).shape, penalty.auxiliary_loss(latent).shape
        (torch.Size([]), torch.Size([]))
        >>> list(penalty.terms)
        ['kl', 'total_correlation']
    """

    name = "factor"
    needs_posterior = True
    auxiliary_learning_rate = 1e-4
    auxiliary_betas = (0.5, 0.9)

    def __init__(
        self,
        dim: int,
        gamma: float = 35.0,
        hidden: Sequence[int] = (1000, 1000, 1000, 1000, 1000, 1000),
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = Discriminator(dim, hidden, seed=seed or 0)
        if dim < 2:
            raise InputError(f"dim: {dim} received; give at least 2 for a total correlation")
        self.dim = dim
        self.gamma = positive_number("gamma", gamma, allow_zero=True)
        self.seed = seed

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"KL + {self.gamma:g} TC by a discriminator of {self.dim} dimensions"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that the posterior has a variance and that the discriminator has its dimension."""
        super().check(dim=dim, stochastic=stochastic)
        if dim != self.dim:
            raise InputError(f"dim: {self.dim} received; the latent has {dim}")

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return KL + gamma TC; the gradient reaches only the codes."""
        kl = kl_divergence(latent)
        tc = self.discriminator.frozen(latent.sample).mean()
        return kl + self.gamma * tc, {"kl": kl, "total_correlation": tc}

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the discriminator."""
        return [self.discriminator]

    def auxiliary_loss(self, latent: Latent | Tensor, *, step: int = 0) -> Float[Tensor, ""]:
        """Return the cross-entropy of the discriminator between codes and permuted codes."""
        z = codes_of(latent, least=2).detach().to(self.discriminator.dtype)
        half = len(z) // 2
        generator = None if self.seed is None else stream(self.seed, "factor", step, z.device)
        order = torch.rand(half, z.shape[1], **generator_options(generator), device=z.device).argsort(0)
        permuted = z[half : 2 * half].gather(0, order)
        with full_precision(z.device.type):
            joint, product = self.discriminator(z[:half]), self.discriminator(permuted)
        return 0.5 * (softplus(-joint).mean() + softplus(product).mean())
