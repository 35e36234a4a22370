"""Residual multilayer perceptrons on the lowest frequencies of images and signals."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.models.layers import Activation, check_sizes, checked_sides, residual_mlp

__all__ = ["DCTDecoder", "DCTEncoder"]

_AMPLITUDE = 4.0
"""The weight of frequency zero is this number over sqrt(pixels): natural images get coefficients near 1."""


class DCTEncoder(nn.Module):
    """A residual multilayer perceptron on the lowest coefficients of a discrete cosine transform.

    The transform keeps the part of natural images that few dimensions can encode, at a quarter of the inputs.
    Each coefficient is multiplied by 1 + its frequency, since the amplitudes of natural images fall as one
    over the frequency.

    Args:
        image_shape: (channels, height, width) of images, or (channels, length) of signals, of any size.
        num_params: number of outputs per image, the parameters of the posterior.
        frequencies: number of frequencies along each axis; all of them along a shorter axis.
        width: width of the residual stream.
        depth: number of residual blocks.
        expansion: hidden units of a block, as a multiple of ``width``.
        activation: name of the activation of the hidden units.

    Raises:
        InputError: ``image_shape`` is that of vectors.

    Example:
        >>> import torch
        >>> from mmdprior.models import DCTEncoder
        >>> DCTEncoder((3, 32, 32), num_params=10, width=16)(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_params: int,
        frequencies: int = 16,
        width: int = 1024,
        depth: int = 4,
        expansion: int = 1,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        check_sizes("frequencies, width, depth, expansion", [frequencies, width, depth, expansion])
        self.transform = _Cosines(image_shape, frequencies)
        blocks = [residual_mlp(width, expansion * width, activation) for _ in range(depth)]
        self.blocks = nn.Sequential(nn.Linear(self.transform.count, width), *blocks, nn.LayerNorm(width))
        self.last = nn.Linear(width, num_params)

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n p"]:
        """Return the parameters of the posterior."""
        return self.last(self.blocks(self.transform(images)))


class DCTDecoder(nn.Module):
    """A residual multilayer perceptron to the lowest coefficients of an image, and the inverse transform.

    Args:
        image_shape: shape of a sample of the output, as for `DCTEncoder`.
        latent_dim: number of latent dimensions d.
        frequencies: number of frequencies along each axis; all of them along a shorter axis.
        width: width of the residual stream.
        depth: number of residual blocks.
        expansion: hidden units of a block, as a multiple of ``width``.
        activation: name of the activation of the hidden units.

    Raises:
        InputError: ``image_shape`` is that of vectors.

    Example:
        >>> import torch
        >>> from mmdprior.models import DCTDecoder
        >>> DCTDecoder((3, 32, 32), latent_dim=10, width=16)(torch.randn(4, 10)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int,
        frequencies: int = 16,
        width: int = 1024,
        depth: int = 4,
        expansion: int = 1,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        check_sizes("frequencies, width, depth, expansion", [frequencies, width, depth, expansion])
        self.transform = _Cosines(image_shape, frequencies)
        blocks = [residual_mlp(width, expansion * width, activation) for _ in range(depth)]
        self.blocks = nn.Sequential(nn.Linear(latent_dim, width), *blocks, nn.LayerNorm(width))
        self.last = nn.Linear(width, self.transform.count)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *sample"]:
        """Return one number per pixel and channel: its logit or its mean, depending on the likelihood."""
        return self.transform.inverse(self.last(self.blocks(z)))


class _Cosines(nn.Module):
    """Orthonormal DCT-II along every axis, cut to the lowest frequencies and weighted by 1 + frequency."""

    def __init__(self, image_shape: tuple[int, ...], frequencies: int) -> None:
        super().__init__()
        sides = checked_sides(image_shape, axes=(1, 2))
        kept = [min(side, frequencies) for side in sides]
        self.shape = (image_shape[0], *kept)
        self.count = math.prod(self.shape)
        for axis, (side, count) in enumerate(zip(sides, kept, strict=True)):
            # Not part of the state dict: the image shape determines it.
            self.register_buffer(f"matrix_{axis}", _matrix(side, count), persistent=False)
        squares = sum(
            torch.arange(count).float().square().view([-1 if axis == k else 1 for k in range(len(kept))])
            for axis, count in enumerate(kept)
        )
        weight = _AMPLITUDE / math.sqrt(math.prod(sides)) * (1 + torch.as_tensor(squares).sqrt())
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor

    def forward(self, images: Float[Tensor, "n *sample"]) -> Float[Tensor, "n k"]:
        """Return the weighted coefficients."""
        with torch.autocast(images.device.type, enabled=False):  # sums over all pixels
            return (self._along_axes(images - 0.5, transpose=False) * self.weight).flatten(1)

    def inverse(self, coefficients: Float[Tensor, "n k"]) -> Float[Tensor, "n *sample"]:
        """Return the images of weighted coefficients; all further frequencies are zero."""
        with torch.autocast(coefficients.device.type, enabled=False):
            plain = coefficients.to(self.weight).unflatten(1, self.shape) / self.weight
            return self._along_axes(plain, transpose=True)

    def _along_axes(self, x: Tensor, *, transpose: bool) -> Tensor:
        matrices: Sequence[Tensor] = [self.get_buffer(f"matrix_{axis}") for axis in range(x.ndim - 2)]
        for axis, matrix in enumerate(matrices, start=2):
            matrix = matrix.T if transpose else matrix
            x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
        return x


def _matrix(side: int, count: int) -> Float[Tensor, "count side"]:
    """Return the lowest rows of the orthonormal DCT-II: sqrt(2 / n) cos(pi (j + 1/2) k / n)."""
    k, j = torch.arange(count).double()[:, None], torch.arange(side).double()
    rows = math.sqrt(2 / side) * torch.cos(math.pi * (j + 0.5) * k / side)
    rows[0] /= math.sqrt(2)
    return rows.float()
