"""Fully connected pairs, with and without hidden layers."""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.networks import Activation, activation_layer, check_sizes

__all__ = ["LinearDecoder", "LinearEncoder", "MLPDecoder", "MLPEncoder"]


class MLPEncoder(nn.Module):
    """Flattened images through hidden layers.

    Args:
        image_shape: (channels, height, width), any.
        num_params: outputs.
        hidden: widths of the hidden layers.
        activation: after every layer but the last.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_params: int,
        hidden: Sequence[int] = (512, 256),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.layers = _layers([math.prod(image_shape), *hidden, num_params], activation)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the posterior's parameters."""
        return self.layers(images.flatten(1))


class MLPDecoder(nn.Module):
    """The mirror of `MLPEncoder`.

    Args:
        image_shape: (channels, height, width) of the images returned.
        latent_dim: d.
        hidden: widths of the encoder's hidden layers; used in reverse.
        activation: after every layer but the last.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        hidden: Sequence[int] = (512, 256),
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = _layers([latent_dim, *reversed(hidden), math.prod(image_shape)], activation)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return logits or means."""
        return self.layers(z).unflatten(1, self.image_shape)


class LinearEncoder(MLPEncoder):
    """One linear layer; with the linear skip and no training it is pixel PCA.

    Args:
        image_shape: (channels, height, width), any.
        num_params: outputs.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_params: int) -> None:
        super().__init__(image_shape, num_params, hidden=())


class LinearDecoder(MLPDecoder):
    """One linear layer.

    Args:
        image_shape: (channels, height, width) of the images returned.
        latent_dim: d.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__(image_shape, latent_dim, hidden=())


def _layers(widths: list[int], activation: Activation) -> nn.Sequential:
    check_sizes("hidden", widths)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation_layer(activation)]
    return nn.Sequential(*layers[:-1])
