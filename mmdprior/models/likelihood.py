"""From decoder outputs to images, and the reconstruction loss."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BernoulliLikelihood", "GaussianLikelihood", "LaplaceLikelihood", "Likelihood"]


class Likelihood(nn.Module, ABC):
    """The loss is summed over pixels and channels and averaged over the batch."""

    @abstractmethod
    def loss(self, output: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Negative log-likelihood up to constants."""

    def mean(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Mean image of a decoder output."""
        return output

    def link(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Take images to the space of decoder outputs, where a linear path is fitted."""
        return images


class GaussianLikelihood(Likelihood):
    """Squared error summed over pixels: -log N(x; output, I/2) up to a constant."""

    def loss(self, output: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Return mean over the batch of sum (x - output)^2."""
        return (output - images).square().flatten(1).sum(1).mean()


class LaplaceLikelihood(Likelihood):
    """Absolute error summed over pixels: -log Laplace(x; output, 1) up to a constant."""

    def loss(self, output: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Return mean over the batch of sum |x - output|."""
        return (output - images).abs().flatten(1).sum(1).mean()


class BernoulliLikelihood(Likelihood):
    """Cross-entropy of pixels in [0, 1] against sigmoid(output), summed over pixels, in nats."""

    _CLIP = 0.02
    """Keeps the logits of black and white pixels finite (at -3.9 and 3.9) in `link`."""

    def loss(self, output: Float[Tensor, "n c h w"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
        """Return mean over the batch of the summed cross-entropy."""
        loss = functional.binary_cross_entropy_with_logits(output, images, reduction="none")
        return loss.flatten(1).sum(1).mean()

    def mean(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return sigmoid(output)."""
        return torch.sigmoid(output)

    def link(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the logits of images clipped to [.02, .98]."""
        return torch.logit(images, eps=self._CLIP)
