"""WAE-GAN: a discriminator between codes and prior draws."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.precision import full_precision
from mmdprior.priors import Gaussian, PriorLike, as_prior
from mmdprior.regularizers.baselines.discriminator import Discriminator
from mmdprior.regularizers.code_penalty import CodePenalty
from mmdprior.regularizers.regularizer import codes_of
from mmdprior.seeding import stream

__all__ = ["WAEGAN"]


class WAEGAN(CodePenalty):
    """-E log D(z) of a discriminator D between codes and prior draws (arXiv 1711.01558, algorithm 1).

    Once the codes have the distribution of the prior and D is 1/2, the value is log 2. ``terms`` has
    ``adversarial``, the value.

    Published for MNIST, and the defaults here: a discriminator of four hidden layers of 512 units with ReLUs;
    its Adam 5e-4 with decay rates 0.5 and 0.999; weight 10 with a sum of squared errors per image.

    Args:
        dim: number of latent dimensions d.
        prior: anything that `as_prior` accepts; N(0, I) by default.
        hidden: widths of the hidden layers of the discriminator.
        seed: seed of its initial weights and of the prior draws; None, the default, draws from torch's global
            generator.

    Raises:
        InputError: a prior that cannot be sampled, or a width below 1.

    Example:
        >>> penalty = WAEGAN(3, hidden=[16, 16])
        >>> import torch
        >>> z = torch.randn(64, 3, requires_grad=True)
        >>> penalty(z).backward()
        >>> penalty.auxiliary_loss(z).shape
        torch.Size([])
    """

    name = "wae_gan"
    least = 1
    auxiliary_learning_rate = 5e-4
    auxiliary_betas = (0.5, 0.999)

    def __init__(
        self,
        dim: int,
        prior: PriorLike | None = None,
        hidden: Sequence[int] = (512, 512, 512, 512),
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = Discriminator(dim, hidden, slope=0.0, seed=seed or 0)
        self.prior = Gaussian(dim) if prior is None else as_prior(prior, dim)
        self.seed = seed

    def describe(self) -> str:
        """Return a one-line description of the penalty."""
        return f"discriminator between codes and {type(self.prior).__name__}({self.prior.dim})"

    def check(self, *, dim: int, stochastic: bool) -> None:
        """Check that prior and latent have the same dimension."""
        if dim != self.prior.dim:
            raise InputError(f"prior: dim {self.prior.dim} received; the latent has {dim}")

    def evaluate(self, latent: Latent, step: int) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """Return -E log D(z); the gradient reaches only the codes."""
        value = softplus(-self.discriminator.frozen(latent.sample)).mean()
        return value, {"adversarial": value}

    def auxiliary_modules(self) -> list[nn.Module]:
        """Return the discriminator."""
        return [self.discriminator]

    def auxiliary_loss(self, latent: Latent | Tensor, *, step: int = 0) -> Float[Tensor, ""]:
        """Return -E log D(y) - E log(1 - D(z)) for prior draws y, as many as there are codes."""
        z = codes_of(latent, least=1).detach().to(self.discriminator.dtype)
        generator = None if self.seed is None else stream(self.seed, "wae_gan", step, self.prior.device)
        y = self.prior.sample(len(z), generator).to(z)
        with full_precision(z.device.type):
            on_prior, on_codes = self.discriminator(y), self.discriminator(z)
        return softplus(-on_prior).mean() + softplus(on_codes).mean()
