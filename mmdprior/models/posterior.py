"""The contract `Posterior` and its two implementations: encoder outputs to codes."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.seeding import generator_options

__all__ = ["DeterministicPosterior", "GaussianPosterior", "Posterior"]


class Posterior(nn.Module, ABC):
    """A family of distributions q(z|x): turns the encoder's outputs for each image into a `Latent`.

    A subclass sets ``stochastic`` and implements `num_params` and `forward`. All noise must come from the
    generator that `forward` receives, so that a run does not depend on its number of processes.

    Attributes:
        stochastic: whether the returned `Latent` has a variance.

    Example:
        A Gaussian posterior with one variance for all dimensions:

        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.models import LinearDecoder, LinearEncoder, Posterior
        >>> class Isotropic(Posterior):
        ...     stochastic = True
        ...     def num_params(self, dim):
        ...         return dim + 1
        ...     def forward(self, params, generator=None):
        ...         mean, log_var = params[:, :-1], params[:, -1:].expand(-1, params.shape[1] - 1)
        ...         noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean)
        ...         return Latent(mean + (0.5 * log_var).exp() * noise, mean, log_var)
        >>> from mmdprior.testing import check_model
        >>> shape = (1, 8, 8)
        >>> check_model(LinearEncoder(shape, 4), LinearDecoder(shape, 3), image_shape=shape, latent_dim=3,
        ...             posterior=Isotropic())
    """

    stochastic: bool

    @abstractmethod
    def num_params(self, dim: int) -> int:
        """Return the number of encoder outputs per image for d latent dimensions."""

    @abstractmethod
    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Return codes and their distribution.

        Args:
            params: encoder outputs, one row per image.
            generator: source of the noise, on any device; by default torch's global generator.
        """


class DeterministicPosterior(Posterior):
    """The encoder's outputs are the codes, as in AE and AE-MMD.

    Args:
        bound: ``sigmoid`` for codes in (0, 1), the sigmoids of the outputs, as in NashAE (arXiv 2209.10677);
            None, the default, for the outputs themselves. A model with a linear skip starts at PCA only
            without a bound.

    Raises:
        InputError: another bound.

    Example:
        >>> import torch
        >>> from mmdprior.models import DeterministicPosterior
        >>> latent = DeterministicPosterior()(torch.randn(4, 3))
        >>> latent.dim, latent.stochastic
        (3, False)
        >>> DeterministicPosterior(bound="sigmoid")(torch.zeros(1, 3)).sample
        tensor([[0.5000, 0.5000, 0.5000]])
    """

    stochastic = False
    bound: str | None = None

    def __init__(self, bound: Literal["sigmoid"] | None = None) -> None:
        super().__init__()
        if bound not in (None, "sigmoid"):
            raise InputError(f"bound: {bound!r} received; give sigmoid, or leave it out")
        self.bound = bound

    def num_params(self, dim: int) -> int:
        """Return d."""
        return dim

    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Return the encoder outputs, or their sigmoids, as sample and mean."""
        codes = params if self.bound is None else params.sigmoid()
        return Latent(codes, codes)


class GaussianPosterior(Posterior):
    """N(mean, diag(exp(log_var))), as in a VAE (Kingma and Welling, arXiv 1312.6114).

    The first d encoder outputs are the means, the other d the log-variances.

    Example:
        >>> import torch
        >>> from mmdprior.models import GaussianPosterior
        >>> posterior = GaussianPosterior()
        >>> posterior.num_params(3)
        6
        >>> latent = posterior(torch.zeros(4, 6), torch.Generator().manual_seed(0))
        >>> latent.dim, latent.log_var.shape
        (3, torch.Size([4, 3]))
    """

    stochastic = True

    def num_params(self, dim: int) -> int:
        """Return 2d."""
        return 2 * dim

    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Sample by reparameterisation: z = mean + exp(log_var / 2) * noise.

        Raises:
            InputError: the number of encoder outputs is odd.
        """
        if params.shape[1] % 2:
            raise InputError(
                f"encoder: {params.shape[1]} outputs received; a gaussian posterior needs 2 x latent_dim"
            )
        mean, log_var = params.chunk(2, dim=1)
        # Drawn on the generator's device: a CPU generator gives the same noise for models on every device.
        device = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, **generator_options(generator), device=device, dtype=mean.dtype)
        return Latent(mean + (0.5 * log_var).exp() * noise.to(mean.device), mean, log_var)
