"""Fully connected encoders and decoders, with and without hidden layers."""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import Activation, activation_layer, check_sizes

__all__ = ["LinearDecoder", "LinearEncoder", "MLPDecoder", "MLPEncoder"]


class MLPEncoder(nn.Module):
    """Fully connected layers on vectors, or on flattened images and signals.

    Args:
        image_shape: (features,) of vectors, (channels, length) or (channels, height, width), of any size.
        num_params: number of outputs per image, the parameters of the posterior.
        hidden: widths of the hidden layers.
        activation: activation after every layer except the last.

    Example:
        >>> import torch
        >>> from mmdprior.models import MLPEncoder
        >>> MLPEncoder((1, 28, 28), num_params=10)(torch.rand(4, 1, 28, 28)).shape
        torch.Size([4, 10])
        >>> MLPEncoder((12,), num_params=10)(torch.randn(4, 12)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_params: int,
        hidden: Sequence[int] = (512, 256),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.layers = _mlp([math.prod(image_shape), *hidden, num_params], activation)

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        return self.layers(images.flatten(1))


class MLPDecoder(nn.Module):
    """Multilayer perceptron with the layers of `MLPEncoder` in reverse order.

    Args:
        image_shape: shape of a sample of the output, as for the encoder.
        latent_dim: number of latent dimensions d.
        hidden: widths of the encoder's hidden layers, in the encoder's order.
        activation: activation after every layer except the last.

    Example:
        >>> import torch
        >>> from mmdprior.models import MLPDecoder
        >>> MLPDecoder((1, 28, 28), latent_dim=10)(torch.randn(4, 10)).shape
        torch.Size([4, 1, 28, 28])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        hidden: Sequence[int] = (512, 256),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = _mlp([latent_dim, *reversed(hidden), math.prod(image_shape)], activation)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return one number per pixel or feature: its logit or its mean, depending on the likelihood."""
        return self.layers(z).unflatten(1, self.image_shape)


class LinearEncoder(MLPEncoder):
    """One linear layer. With the linear skip and no training, its codes are pixel PCA.

    Args:
        image_shape: (features,) of vectors, (channels, length) or (channels, height, width), of any size.
        num_params: number of outputs per image, the parameters of the posterior.

    Example:
        >>> import torch
        >>> from mmdprior.models import LinearEncoder
        >>> LinearEncoder((1, 8, 8), num_params=2)(torch.rand(4, 1, 8, 8)).shape
        torch.Size([4, 2])
    """

    def __init__(self, image_shape: tuple[int, ...], num_params: int) -> None:
        super().__init__(image_shape, num_params, hidden=())


class LinearDecoder(MLPDecoder):
    """One linear layer.

    Args:
        image_shape: shape of a sample of the output, as for the encoder.
        latent_dim: number of latent dimensions d.

    Example:
        >>> import torch
        >>> from mmdprior.models import LinearDecoder
        >>> LinearDecoder((1, 8, 8), latent_dim=2)(torch.randn(4, 2)).shape
        torch.Size([4, 1, 8, 8])
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(image_shape, latent_dim, hidden=())


def _mlp(widths: list[int], activation: Activation) -> nn.Sequential:
    """Return linear layers of these widths with an activation between them."""
    check_sizes("hidden", widths)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation_layer(activation)]
    return nn.Sequential(*layers[:-1])
