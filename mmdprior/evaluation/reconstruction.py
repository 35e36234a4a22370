"""Quality of reconstructions: squared error, PSNR, the likelihood's loss, and SSIM."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.evaluation.encode import rows_of_rank
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.results import Result, to_plain
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Reconstruction", "reconstruction_error", "reconstruction_ssim", "ssim"]


@dataclass(frozen=True)
class Reconstruction(Result):
    """Reconstruction errors on a data set, from one sample z ~ q(z|x) per image.

    Attributes:
        mse: squared error of the unclipped mean image, averaged over all pixels of all images in [0, 1].
        loss: loss of the likelihood, summed over pixels and averaged over images.

    Example:
        >>> from mmdprior.evaluation import Reconstruction
        >>> error = Reconstruction(mse=0.01, loss=30.0)
        >>> error.psnr
        20.0
        >>> print(error)
        PSNR 20.00 dB, MSE 0.01000, loss 30.0
    """

    mse: float
    loss: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio -10 log10(mse), in dB."""
        return -10 * math.log10(self.mse) if self.mse > 0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return ``mse``, ``psnr`` and ``loss``; None where one is not finite."""
        return to_plain({"mse": self.mse, "psnr": self.psnr, "loss": self.loss})

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, MSE {self.mse:.5f}, loss {self.loss:.1f}"


@torch.no_grad()
def reconstruction_error(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"] | Latent | None = None,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> Reconstruction:
    """Reconstruct a data set and compute the errors.

    Args:
        model: model on ``device``; it decodes in evaluation mode.
        images: data set, in the order of ``codes``.
        codes: one sample of q(z|x) per image, or the `Latent` with them. Behind a flow, a `Latent` from
            `encode` also has the codes before it, which are decoded without inverting the flow. By default
            the samples are drawn here, and depend on ``batch_size``.
        batch_size: images per forward pass.
        seed: seed of the samples drawn here.
        device: device of the model.
        world: processes that share the work; one process by default. All return the same errors.

    Raises:
        InputError: the decoder returns another shape than that of the images.

    Example:
        >>> from mmdprior.data import sprites
        >>> from mmdprior.evaluation import reconstruction_error
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
        >>> shape = (1, 64, 64)
        >>> model = Autoencoder(MLPEncoder(shape, 4, hidden=[8]), MLPDecoder(shape, 4, hidden=[8]))
        >>> error = reconstruction_error(model, sprites(images=100).train)
        >>> error.psnr > 0
        True
    """
    squared = loss = 0.0
    rows = rows_of_rank(len(images), batch_size, world)
    start, pixels = int(rows[0]) if len(rows) else 0, math.prod(images.image_shape)
    generator = stream(seed, "reconstruct")
    with evaluation_mode(model):
        for batch, _ in Subset(images, rows).chunks(batch_size):
            x = to_float(batch.to(device))
            if codes is None:
                output = model(x, generator)[1].to(x)
            elif isinstance(codes, Latent) and codes.base is not None:
                before = codes.base.sample[start : start + len(x)].to(x)
                output = model.decoder_output(before, x.shape).to(x)
            else:
                sample = codes.sample if isinstance(codes, Latent) else codes
                output = model.decode_raw(sample[start : start + len(x)].to(x), x.shape).to(x)
            start += len(x)
            squared += float((model.likelihood.mean(output) - x).square().sum())
            loss += float(model.likelihood.loss(output, x)) * len(x)
    # Sums, not means, so that ranks with different numbers of images add up.
    squared, loss = world.sum(torch.tensor([squared, loss], dtype=torch.float64)).tolist()
    return Reconstruction(mse=squared / (len(images) * pixels), loss=loss / len(images))


@torch.no_grad()
def reconstruction_ssim(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"],
    *,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> float:
    """Return the mean SSIM between images and their reconstructions clamped to [0, 1].

    Args:
        model: model on ``device``; it decodes in evaluation mode.
        images: data set, in the order of ``codes``.
        codes: one sample of q(z|x) per image.
        batch_size: images per forward pass.
        device: device of the model.
    """
    total, start = 0.0, 0
    with evaluation_mode(model):
        for batch, _ in images.chunks(batch_size):
            x = to_float(batch.to(device))
            decoded = model.decode(codes[start : start + len(x)].to(x)).to(x).clamp(0, 1)
            total += float(ssim(x, decoded).double().sum())
            start += len(x)
    return total / max(start, 1)


_WINDOW, _SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window, in pixels."""

_C1, _C2 = 0.01**2, 0.03**2
"""(K1 L)^2 and (K2 L)^2 with K1 = 0.01, K2 = 0.03 and dynamic range L = 1."""


def ssim(x: Float[Tensor, "n c h w"], y: Tensor) -> Float[Tensor, "n"]:
    """Return the mean structural similarity of each pair of images in [0, 1]; 1 for equal images.

    Wang, Bovik, Sheikh and Simoncelli (2004), equation 13, with their constants and Gaussian window. It is
    computed per channel and averaged over channels and over the positions at which the whole window fits.
    Images smaller than the window use the largest odd window that fits.

    Args:
        x: images.
        y: images of the same shape.

    Raises:
        InputError: the shapes differ.

    Example:
        >>> import torch
        >>> from mmdprior.evaluation.reconstruction import ssim
        >>> x = torch.rand(2, 3, 32, 32)
        >>> ssim(x, x), bool((ssim(x, 1 - x) < 0).all())
        (tensor([1., 1.]), True)
    """
    if x.shape != y.shape:
        raise InputError(f"images: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give equal ones")
    window = _gaussian_window(min(_WINDOW, *x.shape[2:])).to(x)
    channels = x.shape[1]

    def blur(values: Tensor) -> Tensor:
        # The Gaussian window is separable: one pass per axis.
        rows = functional.conv2d(values, window.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
        return functional.conv2d(rows, window.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)

    # Weighted means, variances and covariance in each window, eq. 14 to 16.
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x.square(), blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    # Eq. 13.
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x.square() + mean_y.square() + _C1) * (var_x + var_y + _C2)
    return (numerator / denominator).flatten(1).mean(1)


def _gaussian_window(size: int) -> Float[Tensor, "k"]:
    """Return Gaussian weights of sum 1 at the largest odd number of pixels up to ``size``."""
    half = (size - 1) // 2
    offsets = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return weights / weights.sum()
