"""Procedural sprites: five independent factors, as dSprites has them, and no download."""

import math

import torch
from torch import Tensor

from mmdprior.data.source import ImageSet, Source
from mmdprior.errors import InputError
from mmdprior.seeding import stream

__all__ = ["FACTOR_SIZES", "Sprites", "factors_of", "render", "sprites"]

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
_GRID = math.prod(FACTOR_SIZES)
_SIDE = 64
_RADIUS = 0.28
"""Half the largest sprite's extent, in units where the image spans [-1, 1]."""
_REACH = 0.6
"""Largest displacement of a sprite's centre, in the same units."""


def factors_of(indices: Tensor) -> Tensor:
    """Return the factor values (b, 5) of grid indices (b,); the last factor, y, varies fastest."""
    columns = []
    for size in reversed(FACTOR_SIZES):
        columns.append(indices % size)
        indices = indices // size
    return torch.stack(columns[::-1], dim=1)


def render(factors: Tensor) -> Tensor:
    """Draw sprites from their factors.

    Shapes (square, ellipse, heart) are signed distances; a pixel whose centre lies s pixels inside
    the edge is covered by clamp(1/2 + s, 0, 1). In float64, so that machines agree.

    Args:
        factors: (b, 5) integers: shape < 3, scale < 6 (half to full size), orientation < 40 (a full
            turn, all distinct), x < 32, y < 32.

    Returns:
        (b, 1, 64, 64) uint8.
    """
    shape, scale, orientation, x, y = factors.double()[:, :, None, None].unbind(1)
    size = _RADIUS * (0.5 + 0.5 * scale / (FACTOR_SIZES[1] - 1))
    angle = 2 * math.pi * orientation / FACTOR_SIZES[2]
    pixels = (torch.arange(_SIDE, dtype=torch.float64) + 0.5) * (2 / _SIDE) - 1
    dx = pixels[None, None, :] - _REACH * (2 * x / (FACTOR_SIZES[3] - 1) - 1)
    dy = pixels[None, :, None] - _REACH * (2 * y / (FACTOR_SIZES[4] - 1) - 1)
    u = (angle.cos() * dx + angle.sin() * dy) / size
    v = (angle.cos() * dy - angle.sin() * dx) / size
    distance = torch.empty_like(u)
    for number, signed_distance in enumerate((_square, _ellipse, _heart)):
        rows = (shape == number).flatten()
        distance[rows] = signed_distance(u[rows], v[rows])
    coverage = (0.5 - distance * size * (_SIDE / 2)).clamp(0, 1)
    return (coverage * 255).round().to(torch.uint8)[:, None]


def _square(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to a square of half-side .75."""
    return torch.maximum(u.abs(), v.abs()) - 0.75


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance, to first order, to an ellipse of half-axes 1 and .55."""
    value = u.square() + (v / 0.55).square() - 1
    slope = 2 * torch.hypot(u, v / 0.55**2)
    return value / slope.clamp(min=1e-6)


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to a square on its corner with a disc on each upper side, of radius 1 in all."""
    half = 0.7
    across = u.abs()
    square = (across + v.abs() - half) * math.sqrt(0.5)
    discs = torch.hypot(across - half / 2, v + half / 2) - half * math.sqrt(0.5)
    return torch.minimum(square, discs)


class Sprites(ImageSet):
    """Sprites at the given indices of the full grid, drawn when they are asked for.

    Args:
        indices: (n,) integers below 737,280.
    """

    image_shape = (1, _SIDE, _SIDE)
    label_names = FACTOR_NAMES

    def __init__(self, indices: Tensor) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Draw images and return them with their factors."""
        factors = factors_of(self.indices[indices.cpu()])
        return render(factors), factors


def sprites(images: int | None = 20_000, seed: int = 0) -> Source:
    """Open the embedded sprites.

    Args:
        images: how many of the 737,280, drawn without replacement; None for the full grid.
        seed: of that draw.

    Raises:
        InputError: a number outside 1 to 737,280.
    """
    if images is None:
        return Source(Sprites(torch.arange(_GRID)))
    if not 1 <= images <= _GRID:
        raise InputError(f"images: {images} received; the grid holds 1 to {_GRID}")
    order = torch.randperm(_GRID, generator=stream(seed, "sprites"))
    return Source(Sprites(order[:images].sort().values))
