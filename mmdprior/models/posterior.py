"""From encoder outputs to codes."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent

__all__ = ["DeterministicPosterior", "GaussianPosterior", "Posterior"]


class Posterior(nn.Module, ABC):
    """Turns the parameters that an encoder returns into a `Latent`."""

    stochastic: bool

    @abstractmethod
    def num_params(self, dim: int) -> int:
        """Encoder outputs needed for d latent dimensions."""

    @abstractmethod
    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Return the codes; the generator seeds their noise."""


class DeterministicPosterior(Posterior):
    """The encoder's output is the code (AE, AE-MMD)."""

    stochastic = False

    def num_params(self, dim: int) -> int:
        """Return d."""
        return dim

    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Return the parameters as sample and mean."""
        return Latent(params, params)


class GaussianPosterior(Posterior):
    """N(mean, diag(exp(log_var))): the first d parameters are means, the others log-variances."""

    stochastic = True

    def num_params(self, dim: int) -> int:
        """Return 2d."""
        return 2 * dim

    def forward(self, params: Float[Tensor, "n p"], generator: torch.Generator | None = None) -> Latent:
        """Draw by reparameterisation, mean + exp(log_var / 2) * noise.

        Raises:
            InputError: an odd number of parameters.
        """
        if params.shape[1] % 2:
            raise InputError(
                f"encoder: {params.shape[1]} outputs received; a gaussian posterior needs 2 x latent_dim"
            )
        mean, log_var = params.chunk(2, dim=1)
        device = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, generator=generator, device=device, dtype=mean.dtype)
        return Latent(mean + (0.5 * log_var).exp() * noise.to(mean.device), mean, log_var)
