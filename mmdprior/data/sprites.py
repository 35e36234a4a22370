"""Procedural sprites with the five independent factors of dSprites; no download."""

import math

import torch
from torch import Tensor

from mmdprior.data.arguments import check_count
from mmdprior.data.factor_table import FactorTable, numbered
from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = ["FACTOR_SIZES", "Sprites", "factors_of", "render", "sprites"]

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
"""Number of values of each factor."""

_TABLE = FactorTable(FACTOR_NAMES, numbered(FACTOR_SIZES), circular=("orientation",), nominal=("shape",))
_GRID_SIZE = math.prod(FACTOR_SIZES)
_SIDE = 64

_RADIUS = 0.28
"""Half the extent of the largest sprite. Lengths are in units where the image spans [-1, 1]."""

_REACH = 0.6
"""Largest displacement of a sprite's centre from the centre of the image."""

_WINDOW = 24
"""Pixels per axis that contain any sprite. The corner of the largest square is 9.5 pixels from its centre."""


def sprites(images: int | None = 20_000, seed: int = 0) -> Source:
    """Open the procedural sprites.

    The images follow dSprites (Matthey et al., 2017): 3 shapes, 6 scales, 40 orientations, and 32 positions
    along each axis. They are grey images of 64 x 64 pixels, anti-aliased, with the factors as labels.

    Args:
        images: number of images, drawn without replacement from the 737,280 of the grid; None for all.
        seed: seed of the draw.

    Raises:
        InputError: the number is not in 1 to 737,280.

    Example:
        >>> from mmdprior.data import sprites
        >>> train = sprites(images=1000).train
        >>> len(train), train.image_shape, train.label_names
        (1000, (1, 64, 64), ('shape', 'scale', 'orientation', 'x', 'y'))
    """
    if images is None:
        return Source(Sprites(torch.arange(_GRID_SIZE)))
    check_count("images", images)
    if images > _GRID_SIZE:
        raise InputError(f"images: {images} received; the grid holds 1 to {_GRID_SIZE}")
    order = torch.randperm(_GRID_SIZE, generator=stream(seed, "sprites"))
    return Source(Sprites(order[:images].sort().values))


class Sprites(ImageSet):
    """Sprites at some indices of the factor grid, rendered on access.

    Args:
        indices: (n,) grid indices, integers below 737,280.
    """

    image_shape = (1, _SIDE, _SIDE)
    label_names = FACTOR_NAMES
    factors = _TABLE.known_factors

    def __init__(self, indices: Tensor) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return rendered images and their factors."""
        factors = factors_of(self.indices[indices.cpu()])
        return render(factors), factors


def factors_of(indices: Tensor) -> Tensor:
    """Return the factor values (b, 5) of grid indices (b,), in row-major order: y varies fastest."""
    columns = []
    for size in reversed(FACTOR_SIZES):
        columns.append(indices % size)
        indices = indices // size
    return torch.stack(columns[::-1], dim=1)


def render(factors: Tensor) -> Tensor:
    """Render sprites from their factors.

    Each shape (square, ellipse, heart) is a signed distance function. A pixel whose centre is s pixels
    inside the edge has coverage clamp(1/2 + s, 0, 1). Computed in float64, so that all machines render the
    same images.

    Args:
        factors: (b, 5) integers: shape < 3, scale < 6 (half to full size), orientation < 40 (a full turn),
            x < 32, y < 32.

    Returns:
        (b, 1, 64, 64) uint8 images.
    """
    shape, scale, orientation, x, y = factors.double()[:, :, None, None].unbind(1)
    size = _RADIUS * (0.5 + 0.5 * scale / (FACTOR_SIZES[1] - 1))
    angle = 2 * math.pi * orientation / FACTOR_SIZES[2]
    columns, dx = _window(x, FACTOR_SIZES[3])
    rows, dy = _window(y, FACTOR_SIZES[4])
    dx, dy = dx[:, None, :], dy[:, :, None]
    # Coordinates in the frame of the sprite: rotated back and scaled to radius 1.
    u = (angle.cos() * dx + angle.sin() * dy) / size
    v = (angle.cos() * dy - angle.sin() * dx) / size
    distance = torch.empty_like(u)
    for number, signed_distance in enumerate((_square, _ellipse, _heart)):
        chosen = (shape == number).flatten()
        distance[chosen] = signed_distance(u[chosen], v[chosen])
    # The distance in pixels is distance * size * (_SIDE / 2), negative inside.
    coverage = (0.5 - distance * size * (_SIDE / 2)).clamp(0, 1)
    images = torch.zeros(len(factors), 1, _SIDE, _SIDE, dtype=torch.uint8)
    sprite = torch.arange(len(factors))[:, None, None]
    images[sprite, 0, rows[:, :, None], columns[:, None, :]] = (coverage * 255).round().to(torch.uint8)
    return images


def _window(position: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Return the pixels (b, w) around sprites along one axis, and their centres relative to the sprites.

    Args:
        position: (b, 1, 1) values of the factor x or y.
        positions: number of values of this factor.
    """
    centres = _REACH * (2 * position[:, :, 0] / (positions - 1) - 1)
    first = ((centres + 1) * (_SIDE / 2) - _WINDOW / 2).round().clamp(0, _SIDE - _WINDOW)
    pixels = first.long() + torch.arange(_WINDOW)
    return pixels, (pixels.double() + 0.5) * (2 / _SIDE) - 1 - centres


def _square(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to a square of half-side 0.75."""
    return torch.maximum(u.abs(), v.abs()) - 0.75


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance, to first order, to an ellipse of half-axes 1 and 0.55: value / |gradient|."""
    value = u.square() + (v / 0.55).square() - 1
    gradient = 2 * torch.hypot(u, v / 0.55**2)
    return value / gradient.clamp(min=1e-6)  # the gradient is zero at the centre


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to the union of a square on its corner and a disc on each of its upper sides."""
    half = 0.7  # half the diagonal of the square; the heart then has radius 1
    across = u.abs()
    square = (across + v.abs() - half) * math.sqrt(0.5)
    discs = torch.hypot(across - half / 2, v + half / 2) - half * math.sqrt(0.5)
    return torch.minimum(square, discs)
