"""What the shipped encoders and decoders share."""

from typing import Literal

from torch import nn

from mmdprior.errors import InputError

__all__ = ["Activation", "activation_layer", "check_sizes", "square_side"]

Activation = Literal["relu", "gelu", "silu", "leaky_relu"]

_LAYERS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


def activation_layer(name: Activation) -> nn.Module:
    """Return a new activation by name."""
    if name not in _LAYERS:
        raise InputError(f"activation: {name!r} received; give one of {sorted(_LAYERS)}")
    return _LAYERS[name]()


def square_side(image_shape: tuple[int, int, int], sides: range | tuple[int, ...]) -> int:
    """Return the side of square images, or raise `InputError` where a network does not take it."""
    _, height, width = image_shape
    if height != width or height not in sides:
        span = f"{sides[0]} to {sides[-1]}" if isinstance(sides, range) else " or ".join(map(str, sides))
        raise InputError(
            f"image_shape: {height} x {width} pixels received; this network takes squares of {span} "
            "(resize with data.size)"
        )
    return height


def check_sizes(name: str, sizes: list[int]) -> list[int]:
    """Return layer widths, or raise `InputError` unless all are positive."""
    if any(size < 1 for size in sizes):
        raise InputError(f"{name}: {sizes} received; every width must be at least 1")
    return list(sizes)
