"""The convolutional encoder and decoder that are standard in work on disentanglement."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import Activation, activation_layer, check_sizes, halved_sides

__all__ = ["ConvDecoder", "ConvEncoder"]

_SIDES = range(32, 129)
"""Heights and widths of images, in pixels, that the networks accept."""

_CHANNELS = (32, 32, 64, 64)


class ConvEncoder(nn.Module):
    """4 x 4 convolutions with stride 2, one hidden linear layer and a linear output layer.

    The default channels, hidden units and activation are those of Locatello et al. (arXiv 1811.12359,
    table 1).

    Args:
        image_shape: (channels, height, width) of the input; height = width, 32 to 128 pixels.
        num_params: number of outputs per image, such as 2 d for means and log-variances of d dimensions.
        channels: output channels of each convolution; each convolution halves height and width.
        hidden: number of units of the hidden layer.
        activation: name of the activation after every layer except the output layer.

    Raises:
        InputError: ``image_shape`` is not accepted, or it is too small for this number of convolutions.

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
        for in_channels, out_channels in pairwise(widths):
            layers += [
                nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * side**2, hidden)
        self.activation = activation_layer(activation)
        self.last = nn.Linear(hidden, num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior, one row per image."""
        features = self.convolutions(images).flatten(1)
        return self.last(self.activation(self.hidden(features)))


class ConvDecoder(nn.Module):
    """Two linear layers and 4 x 4 transposed convolutions with stride 2: `ConvEncoder` in reverse.

    Args:
        image_shape: (channels, height, width) of the output; height = width, 32 to 128 pixels.
        latent_dim: number of latent dimensions d.
        channels: ``channels`` of the `ConvEncoder`, in the same order.
        hidden: number of units of the hidden layer.
        activation: name of the activation after every layer except the output layer.

    Raises:
        InputError: ``image_shape`` is not accepted, or it is too small for this number of convolutions.

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
        self.feature_shape = (widths[0], sides[0], sides[0])
        self.hidden = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            activation_layer(activation),
            nn.Linear(hidden, widths[0] * sides[0] ** 2),
            activation_layer(activation),
        )
        layers: list[nn.Module] = []
        layer_sizes = zip(pairwise(widths), pairwise(sides), strict=True)
        for (in_channels, out_channels), (small, large) in layer_sizes:
            # Without output_padding the output has 2 * small pixels per side. That is one too few if large is
            # odd, because the encoder's convolution rounds down.
            extra = large - 2 * small
            layers += [
                nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, output_padding=extra),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers[:-1])  # no activation after the output layer

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return one number per pixel and channel: its logit or its mean, depending on the likelihood."""
        return self.convolutions(self.hidden(z).unflatten(1, self.feature_shape))
