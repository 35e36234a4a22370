"""A residual pair for 32 and 64 pixels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.models.networks import check_sizes, square_side

__all__ = ["ResNetDecoder", "ResNetEncoder"]

_SIDES = (32, 64)
_CHANNELS = (64, 128, 256)


class _Block(nn.Module):
    """Pre-activation residual block (He et al., arXiv 1603.05027) with group normalisation.

    Batch normalisation would tie the samples of a batch together and break accumulation.
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


class ResNetEncoder(nn.Module):
    """Residual stages, each ended by a stride-2 convolution, then one linear layer.

    Args:
        image_shape: (channels, height, width), 32 or 64 pixels square.
        num_params: outputs.
        channels: of each stage; every stage halves the side.
        blocks: residual blocks a stage.

    Raises:
        InputError: images of another size, or more stages than the side bears.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_params: int,
        channels: Sequence[int] = _CHANNELS,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_sizes("blocks", [blocks])
        widths = check_sizes("channels", list(channels))
        side = _last_side(image_shape, len(widths))
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], widths[0], 3, padding=1)]
        before = widths[0]
        for width in widths:
            layers += [_Block(before if i == 0 else width, width) for i in range(blocks)]
            layers.append(nn.Conv2d(width, width, 4, stride=2, padding=1))
            before = width
        self.stages = nn.Sequential(*layers, _norm(before), nn.SiLU())
        self.last = nn.Linear(before * side**2, num_params)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p"]:
        """Return the posterior's parameters."""
        return self.last(self.stages(images).flatten(1))


class ResNetDecoder(nn.Module):
    """The mirror of `ResNetEncoder`, with nearest-neighbour upsampling before each stage.

    Args:
        image_shape: (channels, height, width) of the images returned.
        latent_dim: d.
        channels: of the encoder's stages; used in reverse.
        blocks: residual blocks a stage.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        channels: Sequence[int] = _CHANNELS,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_sizes("blocks", [blocks])
        widths = check_sizes("channels", list(channels))[::-1]
        side = _last_side(image_shape, len(widths))
        self.start = (widths[0], side, side)
        self.first = nn.Linear(latent_dim, widths[0] * side**2)
        layers: list[nn.Module] = []
        before = widths[0]
        for width in widths:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, width, 3, padding=1)]
            layers += [_Block(width, width) for _ in range(blocks)]
            before = width
        self.stages = nn.Sequential(*layers, _norm(before), nn.SiLU())
        self.last = nn.Conv2d(before, image_shape[0], 3, padding=1)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Return logits or means."""
        return self.last(self.stages(self.first(z).unflatten(1, self.start)))


def _norm(channels: int) -> nn.GroupNorm:
    """Normalise in the largest number of groups, at most 32, that divides the channels."""
    return nn.GroupNorm(next(g for g in range(min(32, channels), 0, -1) if channels % g == 0), channels)


def _last_side(image_shape: tuple[int, int, int], stages: int) -> int:
    side = square_side(image_shape, _SIDES)
    if stages < 1 or side >> stages < 1:
        raise InputError(
            f"channels: {stages} stages received; a side of {side} takes 1 to {side.bit_length() - 1}"
        )
    return side >> stages
