"""Activations by name, and checks of layer sizes that the shipped networks share."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from mmdprior.errors import InputError

__all__ = ["Activation", "activation_layer", "check_sizes", "halved_sides"]

Activation = Literal["relu", "gelu", "silu", "leaky_relu"]

_LAYERS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


def activation_layer(name: Activation) -> nn.Module:
    """Return a new activation layer by name."""
    if name not in _LAYERS:
        raise InputError(f"activation: {name!r} received; give one of {sorted(_LAYERS)}")
    return _LAYERS[name]()


def check_sizes(name: str, sizes: Sequence[int]) -> list[int]:
    """Return layer sizes as a list; raise `InputError` unless all are positive."""
    if any(size < 1 for size in sizes):
        raise InputError(f"{name}: {list(sizes)} received; every width must be at least 1")
    return list(sizes)


def halved_sides(
    image_shape: tuple[int, int, int], allowed: range | tuple[int, ...], halvings: int, layers: str
) -> list[int]:
    """Return the side of a square image before and after each stride-2 layer.

    Args:
        image_shape: (channels, height, width).
        allowed: sides in pixels that the network accepts.
        halvings: number of stride-2 layers; each halves the side, rounded down.
        layers: what the error message calls them.

    Raises:
        InputError: the image is not square or its side not allowed, or there are more stride-2 layers than
            the image size allows.
    """
    _, height, width = image_shape
    if height != width or height not in allowed:
        span = (
            f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
        )
        raise InputError(
            f"image_shape: {height} x {width} pixels received; this network accepts squares of {span}"
        )
    most = height.bit_length() - 1  # until one pixel is left
    if not 1 <= halvings <= most:
        raise InputError(f"channels: {halvings} {layers} received; a side of {height} allows 1 to {most}")
    return [height >> k for k in range(halvings + 1)]
