"""The contract `Likelihood` and its implementations: decoder outputs to images and reconstruction loss."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BernoulliLikelihood", "GaussianLikelihood", "LaplaceLikelihood", "Likelihood"]


class Likelihood(nn.Module, ABC):
    """A distribution p(x|z) of images, signals or vectors given the decoder's output.

    A subclass implements `loss`, and overrides `mean` and `link` if the decoder's output is not the mean
    image. The loss is a sum over pixels and channels and a mean over the batch, so that it has the scale
    of a log-likelihood per image, and the losses of the parts of a batch average to its loss.

    Example:
        A Gaussian likelihood with a known standard deviation:

        >>> import torch
        >>> from mmdprior.models import Likelihood, LinearDecoder, LinearEncoder
        >>> class Scaled(Likelihood):
        ...     def __init__(self, scale: float = 0.1) -> None:
        ...         super().__init__()
        ...         self.scale = scale
        ...     def loss(self, output, images):
        ...         return (((output - images) / self.scale) ** 2 / 2).flatten(1).sum(1).mean()
        >>> from mmdprior.testing import check_model
        >>> shape = (1, 8, 8)
        >>> check_model(LinearEncoder(shape, 3), LinearDecoder(shape, 3), image_shape=shape, latent_dim=3,
        ...             likelihood=Scaled())
    """

    @abstractmethod
    def loss(
        self, output: Float[Tensor, "n *sample"], images: Float[Tensor, "n *sample"]
    ) -> Float[Tensor, ""]:
        """Return the negative log-likelihood up to constants.

        Args:
            output: decoder outputs, one per image.
            images: images in [0, 1], or standardised signals or vectors.
        """

    def mean(self, output: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return the mean image of a decoder output."""
        return output

    def link(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return decoder outputs whose mean is close to the images; the linear skip is fitted to these."""
        return images

    def standardise(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return images in the units of the loss, in which errors of different features are comparable."""
        return images


class GaussianLikelihood(Likelihood):
    """Squared error: -log N(x; output, I/2) up to a constant.

    Example:
        >>> import torch
        >>> from mmdprior.models import GaussianLikelihood
        >>> images = torch.zeros(2, 1, 4, 4)
        >>> GaussianLikelihood().loss(images + 0.5, images)  # 16 pixels x 0.25
        tensor(4.)
    """

    def loss(
        self, output: Float[Tensor, "n *sample"], images: Float[Tensor, "n *sample"]
    ) -> Float[Tensor, ""]:
        """Return sum (x - output)^2, averaged over the batch."""
        return (output - images).square().flatten(1).sum(1).mean()


class LaplaceLikelihood(Likelihood):
    """Absolute error: -log Laplace(x; output, 1) up to a constant.

    Example:
        >>> import torch
        >>> from mmdprior.models import LaplaceLikelihood
        >>> images = torch.zeros(2, 1, 4, 4)
        >>> LaplaceLikelihood().loss(images + 0.5, images)  # 16 pixels x 0.5
        tensor(8.)
    """

    def loss(
        self, output: Float[Tensor, "n *sample"], images: Float[Tensor, "n *sample"]
    ) -> Float[Tensor, ""]:
        """Return sum |x - output|, averaged over the batch."""
        return (output - images).abs().flatten(1).sum(1).mean()


class BernoulliLikelihood(Likelihood):
    """Cross-entropy in nats of pixels in [0, 1] against sigmoid(output); the decoder returns logits.

    Example:
        >>> import torch
        >>> from mmdprior.models import BernoulliLikelihood
        >>> logits = torch.zeros(2, 1, 4, 4)
        >>> loss = BernoulliLikelihood().loss(logits, torch.ones(2, 1, 4, 4))  # 16 pixels x log 2
        >>> round(float(loss), 4)
        11.0904
        >>> BernoulliLikelihood().mean(logits).unique()
        tensor([0.5000])
    """

    _CLIP = 0.02
    """Pixels are clipped to [0.02, 0.98] in `link`, so that logits of black and white are -3.9 and 3.9."""

    def loss(
        self, output: Float[Tensor, "n *sample"], images: Float[Tensor, "n *sample"]
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy summed over pixels, averaged over the batch."""
        loss = functional.binary_cross_entropy_with_logits(output, images, reduction="none")
        return loss.flatten(1).sum(1).mean()

    def mean(self, output: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return sigmoid(output)."""
        return torch.sigmoid(output)

    def link(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
        """Return the logits of images clipped to [0.02, 0.98]."""
        return torch.logit(images, eps=self._CLIP)
