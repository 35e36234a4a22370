"""Activations by name, and checks of layer sizes that the shipped networks share."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mmdprior.errors import InputError

__all__ = [
    "Activation",
    "activation_layer",
    "check_sizes",
    "checked_sides",
    "halved_sides",
    "patch_sides",
    "residual_mlp",
]

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
        raise InputError(f"{name}: {list(sizes)} received; every number must be at least 1")
    return list(sizes)


def residual_mlp(width: int, hidden: int, activation: Activation) -> nn.Module:
    """Return x + W_2 activation(W_1 norm(x)) on the last axis, with layer normalisation."""
    layers = nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), activation_layer(activation), nn.Linear(hidden, width)
    )
    return _Residual(layers)


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def patch_sides(image_shape: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Return the numbers of patches along height and width of an image.

    Args:
        image_shape: (channels, height, width).
        patch: side of a patch in pixels.

    Raises:
        InputError: not the shape of images, or a side that is no multiple of the patch.
    """
    check_sizes("patch", [patch])
    sides = checked_sides(image_shape, axes=[2])
    for side in sides:
        if side % patch:
            raise InputError(
                f"patch: {patch} received; a side of {side} is no multiple of it; give a divisor of {side}"
            )
    return sides[0] // patch, sides[1] // patch


def halved_sides(
    image_shape: tuple[int, ...], halvings: int, layers: str, axes: Sequence[int] = (1, 2)
) -> list[tuple[int, ...]]:
    """Return the sides of an image, or the length of a signal, before and after each stride-2 layer.

    Args:
        image_shape: (channels, height, width) of images, or (channels, length) of signals.
        halvings: number of stride-2 layers; each halves the sides, rounded down.
        layers: what the error message calls them.
        axes: numbers of axes next to the channels that the network accepts.

    Raises:
        InputError: the network does not accept samples with this number of axes, or there are more stride-2
            layers than the smallest side allows.
    """
    sides = checked_sides(image_shape, axes)
    most = min(sides).bit_length() - 1  # until one pixel is left
    if not 1 <= halvings <= most:
        raise InputError(f"channels: {halvings} {layers} received; a side of {min(sides)} allows 1 to {most}")
    return [tuple(side >> k for side in sides) for k in range(halvings + 1)]


def checked_sides(image_shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """Return the axes of a sample without its channels; raise `InputError` for another number of axes."""
    sides = image_shape[1:]
    if len(sides) not in axes:
        samples = {0: "vectors", 1: "signals", 2: "images"}.get(len(sides), f"shape {tuple(image_shape)}")
        accepted = " and ".join({1: "signals", 2: "images"}[count] for count in reversed(axes))
        others = "mlp" if len(sides) != 1 else "conv or mlp"
        raise InputError(
            f"image_shape: {samples} received; this network accepts {accepted}, give model.name: {others}"
        )
    return sides
