"""MLP-Mixer encoder and decoder: fully connected layers over patches and over channels in turn."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.models.layers import Activation, activation_layer, check_sizes, patch_sides, residual_mlp

__all__ = ["MixerDecoder", "MixerEncoder"]


class MixerEncoder(nn.Module):
    """MLP-Mixer (Tolstikhin et al., arXiv 2105.01601) on patches, then one linear layer on all of them.

    Almost all of its arithmetic is in products of large matrices, which are fast on every device.

    Args:
        image_shape: (channels, height, width); both sides are multiples of ``patch``.
        num_params: number of outputs per image, the parameters of the posterior.
        patch: side of a patch in pixels.
        width: channels per patch.
        depth: number of blocks.
        expansion: hidden units of the layers of a block, as a multiple of its patches and of its channels.
        activation: name of the activation of the hidden units.

    Raises:
        InputError: ``image_shape`` is not that of images, or a side is no multiple of ``patch``.

    Example:
        >>> import torch
        >>> from mmdprior.models import MixerEncoder
        >>> MixerEncoder((3, 32, 32), num_params=10, width=16, depth=1)(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_params: int,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        expansion: int = 2,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        check_sizes("width, depth, expansion", [width, depth, expansion])
        rows, columns = patch_sides(image_shape, patch)
        self.embed = nn.Conv2d(image_shape[0], width, patch, stride=patch)
        self.blocks = nn.Sequential(
            *(_Block(rows * columns, width, expansion, activation) for _ in range(depth)), nn.LayerNorm(width)
        )
        self.last = nn.Linear(rows * columns * width, num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        patches = self.embed(images).flatten(2).transpose(1, 2)
        return self.last(self.blocks(patches).flatten(1))


class MixerDecoder(nn.Module):
    """One linear layer from a code to all patches, then the blocks of `MixerEncoder`.

    Args:
        image_shape: (channels, height, width) of the output, as for `MixerEncoder`.
        latent_dim: number of latent dimensions d.
        patch: side of a patch in pixels.
        width: channels per patch.
        depth: number of blocks.
        expansion: hidden units of the layers of a block, as a multiple of its patches and of its channels.
        activation: name of the activation of the hidden units.

    Raises:
        InputError: ``image_shape`` is not that of images, or a side is no multiple of ``patch``.

    Example:
        >>> import torch
        >>> from mmdprior.models import MixerDecoder
        >>> MixerDecoder((3, 32, 32), latent_dim=10, width=16, depth=1)(torch.randn(4, 10)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        expansion: int = 2,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        check_sizes("width, depth, expansion", [width, depth, expansion])
        self.grid, self.patch, self.width = patch_sides(image_shape, patch), patch, width
        count = self.grid[0] * self.grid[1]
        self.first = nn.Linear(latent_dim, count * width)
        self.blocks = nn.Sequential(
            *(_Block(count, width, expansion, activation) for _ in range(depth)), nn.LayerNorm(width)
        )
        self.last = nn.Linear(width, image_shape[0] * patch**2)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return one number per pixel and channel: its logit or its mean, depending on the likelihood."""
        patches = self.last(self.blocks(self.first(z).unflatten(1, (-1, self.width))))
        return functional.pixel_shuffle(patches.transpose(1, 2).unflatten(2, self.grid), self.patch)


class _Block(nn.Module):
    """Residual layers over patches, then over channels, each with layer normalisation."""

    def __init__(self, patches: int, width: int, expansion: int, activation: Activation) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_patches = nn.Sequential(
            nn.Linear(patches, expansion * patches),
            activation_layer(activation),
            nn.Linear(expansion * patches, patches),
        )
        self.over_channels = residual_mlp(width, expansion * width, activation)

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        x = x + self.over_patches(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.over_channels(x)
