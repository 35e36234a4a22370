"""Encoder, posterior, decoder and likelihood, composed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.models.likelihood import GaussianLikelihood, Likelihood
from mmdprior.models.posterior import DeterministicPosterior, Posterior

__all__ = ["Autoencoder", "evaluation_mode"]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode for a block, then every part back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Autoencoder(nn.Module):
    """Images to codes and back; no loss.

    Args:
        encoder: (n, C, H, W) images in [0, 1] -> (n, posterior.num_params(d)).
        decoder: (n, d) codes -> (n, C, H, W) logits or means, as the likelihood wants.
        posterior: deterministic by default.
        likelihood: GaussianLikelihood by default.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.posterior = DeterministicPosterior() if posterior is None else posterior
        self.likelihood = GaussianLikelihood() if likelihood is None else likelihood

    def posterior_params(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the parameters of q(z|x), in float32 at least.

        Raises:
            InputError: the encoder returned something that is not (n, p).
        """
        params = self.encoder(images)
        if params.ndim != 2 or len(params) != len(images):
            raise InputError(
                f"encoder: shape {tuple(params.shape)} returned; return (n, outputs) for n images"
            )
        return params.to(torch.promote_types(params.dtype, torch.float32))

    def encode(self, images: Float[Tensor, "n c h w"], generator: torch.Generator | None = None) -> Latent:
        """Return q(z|x) and a draw from it.

        Args:
            images: float in [0, 1].
            generator: seeds the draw.
        """
        return self.posterior(self.posterior_params(images), generator)

    def decode(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return the mean images of codes; unclipped, so a GaussianLikelihood mean may leave [0, 1]."""
        return self.likelihood.mean(self.decoder(z))

    def forward(
        self, images: Float[Tensor, "n c h w"], generator: torch.Generator | None = None
    ) -> tuple[Latent, Float[Tensor, "n c h w"]]:
        """Return the codes and the decoder's raw output for the drawn codes."""
        latent = self.encode(images, generator)
        return latent, self.decode_raw(latent.sample, images.shape)

    def decode_raw(self, z: Float[Tensor, "n d"], shape: torch.Size) -> Float[Tensor, "n c h w"]:
        """Return the decoder's raw output for codes, in float32 at least.

        Args:
            z: codes.
            shape: (n, C, H, W) that the output must have.

        Raises:
            InputError: the decoder returned another shape.
        """
        output = self.decoder(z)
        if output.shape != shape:
            raise InputError(f"decoder: shape {tuple(output.shape)} returned; return {tuple(shape)}")
        return output.to(torch.promote_types(output.dtype, torch.float32))
