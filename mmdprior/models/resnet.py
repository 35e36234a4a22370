"""A residual encoder and decoder for images."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import check_sizes, halved_sides, patch_sides

__all__ = ["ResNetDecoder", "ResNetEncoder"]

_CHANNELS = (64, 128, 256)
_MAX_GROUPS = 32
"""Groups of a group normalisation (Wu and He, arXiv 1803.08494)."""


class ResNetEncoder(nn.Module):
    """Residual stages, each ended by a stride-2 convolution, then one linear layer.

    Args:
        image_shape: (channels, height, width); any size from 2^k on for k stages.
        num_params: number of outputs per image, the parameters of the posterior.
        channels: channels of each stage; each stage halves height and width, rounded down.
        blocks: number of residual blocks per stage.
        patch: side in pixels of the patches that take the place of pixels in the first stage; 1, the default,
            for pixels.

    Raises:
        InputError: ``image_shape`` is not that of images or too small for this number of stages, or a side
            is no multiple of ``patch``.

    Example:
        >>> import torch
        >>> from mmdprior.models import ResNetEncoder
        >>> encoder = ResNetEncoder((3, 32, 32), num_params=10, channels=(8, 16), blocks=1)
        >>> encoder(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_params: int,
        channels: Sequence[int] = _CHANNELS,
        blocks: int = 2,
        patch: int = 1,
    ) -> None:
        super().__init__()
        check_sizes("blocks", [blocks])
        widths = check_sizes("channels", channels)
        sides = _stage_sides(image_shape, len(widths), patch)[-1]
        size, stride, padding = (3, 1, 1) if patch == 1 else (patch, patch, 0)
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], widths[0], size, stride, padding)]
        before = widths[0]
        for width in widths:
            layers += [_Block(before if i == 0 else width, width) for i in range(blocks)]
            layers.append(nn.Conv2d(width, width, 4, stride=2, padding=1))
            before = width
        self.stages = nn.Sequential(*layers, _norm(before), nn.SiLU())
        self.last = nn.Linear(before * math.prod(sides), num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        return self.last(self.stages(images).flatten(1))


class ResNetDecoder(nn.Module):
    """Residual decoder: the stages of `ResNetEncoder` in reverse order, each preceded by upsampling.

    Upsampling repeats each pixel (nearest neighbour).

    Args:
        image_shape: (channels, height, width) of the output, as for `ResNetEncoder`.
        latent_dim: number of latent dimensions d.
        channels: channels of the encoder's stages, in the encoder's order.
        blocks: number of residual blocks per stage.
        patch: side in pixels of the patches that take the place of pixels in the first stage; 1, the default,
            for pixels.

    Raises:
        InputError: ``image_shape`` is not that of images or too small for this number of stages, or a side
            is no multiple of ``patch``.

    Example:
        >>> import torch
        >>> from mmdprior.models import ResNetDecoder
        >>> decoder = ResNetDecoder((3, 32, 32), latent_dim=10, channels=(8, 16), blocks=1)
        >>> decoder(torch.randn(4, 10)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        channels: Sequence[int] = _CHANNELS,
        blocks: int = 2,
        patch: int = 1,
    ) -> None:
        super().__init__()
        check_sizes("blocks", [blocks])
        widths = check_sizes("channels", channels)[::-1]
        small, *larger = _stage_sides(image_shape, len(widths), patch)[::-1]
        self.feature_shape = (widths[0], *small)
        self.first = nn.Linear(latent_dim, math.prod(self.feature_shape))
        layers: list[nn.Module] = []
        before = widths[0]
        for width, sides in zip(widths, larger, strict=True):
            layers += [nn.Upsample(size=sides), nn.Conv2d(before, width, 3, padding=1)]
            layers += [_Block(width, width) for _ in range(blocks)]
            before = width
        self.stages = nn.Sequential(*layers, _norm(before), nn.SiLU())
        self.last = nn.Conv2d(before, image_shape[0] * patch**2, 3, padding=1)
        self.to_pixels = nn.PixelShuffle(patch)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return one value per pixel: its logit or its mean, depending on the likelihood."""
        return self.to_pixels(self.last(self.stages(self.first(z).unflatten(1, self.feature_shape))))


class _Block(nn.Module):
    """Pre-activation residual block (He et al., arXiv 1603.05027) with group normalisation.

    Not batch normalisation: it makes the output of an image depend on the other images of the batch, so the
    gradient would change with the number of processes and accumulated parts.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _norm(before),
            nn.SiLU(),
            nn.Conv2d(before, after, 3, padding=1),
            _norm(after),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1),
        )
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        return self.skip(x) + self.branch(x)


def _stage_sides(image_shape: tuple[int, ...], stages: int, patch: int) -> list[tuple[int, ...]]:
    """Return the sides in patches before and after each stage."""
    if patch != 1:
        image_shape = (image_shape[0], *patch_sides(image_shape, patch))
    return halved_sides(image_shape, stages, "stages", axes=[2])


def _norm(channels: int) -> nn.GroupNorm:
    """Return a group normalisation with as many groups as divide the channels, at most 32."""
    groups = next(g for g in range(min(_MAX_GROUPS, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)
