"""The convolutional pair of the disentanglement literature."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.models.networks import Activation, activation_layer, check_sizes, square_side

__all__ = ["ConvDecoder", "ConvEncoder"]

_SIDES = range(32, 129)
_CHANNELS = (32, 32, 64, 64)


class ConvEncoder(nn.Module):
    """4 x 4 convolutions of stride 2, then one hidden layer (Burgess et al., arXiv 1804.03599;
    Locatello et al., arXiv 1811.12359, table 1: 32-32-64-64 channels, 256 hidden units, ReLU).

    Args:
        image_shape: (channels, height, width), square, 32 to 128 pixels.
        num_params: outputs.
        channels: of each convolution; every one halves the side.
        hidden: units of the hidden layer.
        activation: after every layer but the last.

    Raises:
        InputError: images of another size, or more halvings than the side bears.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_params: int,
        channels: Sequence[int] = _CHANNELS,
        hidden: int = 256,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        widths = check_sizes("channels", [image_shape[0], *channels])
        sides = _sides(image_shape, len(channels))
        check_sizes("hidden", [hidden])
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * sides[-1] ** 2, hidden)
        self.activation = activation_layer(activation)
        self.last = nn.Linear(hidden, num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the posterior's parameters."""
        features = self.convolutions(images).flatten(1)
        return self.last(self.activation(self.hidden(features)))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: its arguments mean the same, channels in the encoder's order.

    Args:
        image_shape: (channels, height, width) of the images returned.
        latent_dim: d.
        channels: of the encoder's convolutions; used in reverse.
        hidden: units of the hidden layer.
        activation: after every layer but the last.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        channels: Sequence[int] = _CHANNELS,
        hidden: int = 256,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        widths = check_sizes("channels", [image_shape[0], *channels])[::-1]
        sides = _sides(image_shape, len(channels))[::-1]
        check_sizes("hidden", [hidden])
        self.start = (widths[0], sides[0], sides[0])
        self.hidden = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            activation_layer(activation),
            nn.Linear(hidden, widths[0] * sides[0] ** 2),
            activation_layer(activation),
        )
        layers: list[nn.Module] = []
        for before, after, small, large in zip(widths, widths[1:], sides, sides[1:], strict=False):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=large - 2 * small),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return logits or means."""
        return self.convolutions(self.hidden(z).unflatten(1, self.start))


def _sides(image_shape: tuple[int, int, int], halvings: int) -> list[int]:
    """Side of the image before and after every convolution."""
    sides = [square_side(image_shape, _SIDES)]
    for _ in range(halvings):
        sides.append(sides[-1] // 2)
    if halvings < 1 or sides[-1] < 1:
        raise InputError(
            f"channels: {halvings} convolutions received; a side of {sides[0]} takes 1 to "
            f"{sides[0].bit_length() - 1}"
        )
    return sides
