"""The convolutional encoder and decoder of the disentanglement literature."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import Activation, activation_layer, check_sizes, halved_sides

__all__ = ["ConvDecoder", "ConvEncoder"]

_SIDES = range(32, 129)
_CHANNELS = (32, 32, 64, 64)


class ConvEncoder(nn.Module):
    """4 x 4 convolutions of stride 2, then one hidden layer.

    The defaults are those of Burgess et al. (arXiv 1804.03599) and of Locatello et al. (arXiv 1811.12359,
    table 1): channels 32-32-64-64, 256 hidden units, ReLU.

    Args:
        image_shape: (channels, height, width), square, 32 to 128 pixels.
        num_params: number of outputs per image, the parameters of the posterior.
        channels: output channels of each convolution; each convolution halves the side.
        hidden: units of the hidden layer.
        activation: activation after every layer except the last.

    Raises:
        InputError: the images have another size, or there are more stride-2 layers than the image size
            allows.

    Example:
        >>> import torch
        >>> from mmdprior.models import ConvEncoder
        >>> ConvEncoder((3, 32, 32), num_params=10)(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
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
        side = halved_sides(image_shape, _SIDES, len(channels), "convolutions")[-1]
        check_sizes("hidden", [hidden])
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * side**2, hidden)
        self.activation = activation_layer(activation)
        self.last = nn.Linear(hidden, num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        features = self.convolutions(images).flatten(1)
        return self.last(self.activation(self.hidden(features)))


class ConvDecoder(nn.Module):
    """The mirror image of `ConvEncoder`.

    Args:
        image_shape: (channels, height, width) of the output, square, 32 to 128 pixels.
        latent_dim: number of latent dimensions d.
        channels: channels of the encoder's convolutions, in the encoder's order.
        hidden: units of the hidden layer.
        activation: activation after every layer except the last.

    Raises:
        InputError: the images have another size, or there are more stride-2 layers than the image size
            allows.

    Example:
        >>> import torch
        >>> from mmdprior.models import ConvDecoder
        >>> ConvDecoder((3, 32, 32), latent_dim=10)(torch.randn(4, 10)).shape
        torch.Size([4, 3, 32, 32])
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
        sides = halved_sides(image_shape, _SIDES, len(channels), "convolutions")[::-1]
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
            # Doubling gives 2 * small pixels; the encoder rounded down where the larger side was odd.
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=large - 2 * small),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return logits or means of the pixels, as the likelihood reads them."""
        return self.convolutions(self.hidden(z).unflatten(1, self.start))
