"""The convolutional encoder and decoder that are standard in work on disentanglement."""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import Activation, activation_layer, check_sizes, halved_sides
from mmdprior.models.transposed import TransposedConv2d

__all__ = ["ConvDecoder", "ConvEncoder"]

_CHANNELS = (32, 32, 64, 64)

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv1d, 3: nn.Conv2d}
"""By number of axes of a sample."""


class ConvEncoder(nn.Module):
    """4 x 4 convolutions with stride 2, one hidden linear layer and a linear output layer.

    Signals have convolutions along their length, with 4 taps and stride 2. The default channels, hidden units
    and activation are those of Locatello et al. (arXiv 1811.12359, table 1).

    Args:
        image_shape: (channels, height, width) of images, or (channels, length) of signals. Any size from
            2^k on for k convolutions.
        num_params: number of outputs per image, such as 2 d for means and log-variances of d dimensions.
        channels: output channels of each convolution; each convolution halves height and width, rounded
            down.
        hidden: number of units of the hidden layer.
        activation: name of the activation after every layer except the output layer.

    Raises:
        InputError: ``image_shape`` is that of vectors, or too small for this number of convolutions.

    Example:
        >>> import torch
        >>> from mmdprior.models import ConvEncoder
        >>> ConvEncoder((3, 32, 32), num_params=10)(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
        >>> ConvEncoder((2, 100), num_params=10)(torch.randn(4, 2, 100)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_params: int,
        channels: Sequence[int] = _CHANNELS,
        hidden: int = 256,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        widths = check_sizes("channels", [image_shape[0], *channels])
        sides = halved_sides(image_shape, len(channels), "convolutions")[-1]
        convolution = _CONVOLUTIONS[len(image_shape)]
        check_sizes("hidden", [hidden])
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            layers += [
                convolution(in_channels, out_channels, 4, stride=2, padding=1),
                activation_layer(activation),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * math.prod(sides), hidden)
        self.activation = activation_layer(activation)
        self.last = nn.Linear(hidden, num_params)

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior, one row per image."""
        features = self.convolutions(images).flatten(1)
        return self.last(self.activation(self.hidden(features)))


class ConvDecoder(nn.Module):
    """Two linear layers and 4 x 4 transposed convolutions with stride 2: `ConvEncoder` in reverse.

    Args:
        image_shape: (channels, height, width) or (channels, length) of the output, as for `ConvEncoder`.
        latent_dim: number of latent dimensions d.
        channels: ``channels`` of the `ConvEncoder`, in the same order.
        hidden: number of units of the hidden layer.
        activation: name of the activation after every layer except the output layer.

    Raises:
        InputError: ``image_shape`` is that of vectors, or too small for this number of convolutions.

    Example:
        >>> import torch
        >>> from mmdprior.models import ConvDecoder
        >>> ConvDecoder((3, 32, 32), latent_dim=10)(torch.randn(4, 10)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        channels: Sequence[int] = _CHANNELS,
        hidden: int = 256,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        widths = check_sizes("channels", [image_shape[0], *channels])[::-1]
        sides = halved_sides(image_shape, len(channels), "convolutions")[::-1]
        check_sizes("hidden", [hidden])
        self.feature_shape = (widths[0], *sides[0])
        self.hidden = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            activation_layer(activation),
            nn.Linear(hidden, math.prod(self.feature_shape)),
            activation_layer(activation),
        )
        layers: list[nn.Module] = []
        layer_sizes = zip(pairwise(widths), pairwise(sides), strict=True)
        for (in_channels, out_channels), (small, large) in layer_sizes:
            # Without output_padding a side of the output has 2 * small pixels. That is one too few if large
            # is odd, because the encoder's convolution rounds down.
            extra = tuple(after - 2 * before for before, after in zip(small, large, strict=True))
            layers += [_transposed(in_channels, out_channels, extra), activation_layer(activation)]
        self.convolutions = nn.Sequential(*layers[:-1])  # no activation after the output layer

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return one number per pixel and channel: its logit or its mean, depending on the likelihood."""
        return self.convolutions(self.hidden(z).unflatten(1, self.feature_shape))


def _transposed(in_channels: int, out_channels: int, output_padding: tuple[int, ...]) -> nn.Module:
    """Return a transposed convolution for signals or images, by the number of sides."""
    if len(output_padding) == 2:
        return TransposedConv2d(in_channels, out_channels, output_padding)
    (extra,) = output_padding
    return nn.ConvTranspose1d(in_channels, out_channels, 4, stride=2, padding=1, output_padding=extra)
