"""How much of the images the codes keep."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.evaluation.encode import rows_of_rank
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Reconstruction", "reconstruction_error", "reconstruction_ssim", "ssim"]


@dataclass(frozen=True)
class Reconstruction:
    """Errors over a data set, decoding one draw z ~ q(z|x) an image.

    Attributes:
        mse: squared error of the unclipped mean image, averaged over all pixels, images in [0, 1].
        loss: the likelihood's loss, a sum over pixels averaged over images.
    """

    mse: float
    loss: float

    @property
    def psnr(self) -> float:
        """-10 log10(mse), in dB."""
        return -10 * math.log10(self.mse) if self.mse > 0 else math.inf


@torch.no_grad()
def reconstruction_error(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"] | None = None,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> Reconstruction:
    """Reconstruct a data set and measure the error; every process takes its share.

    Args:
        model: on ``device``.
        images: in the order of ``codes``.
        codes: draws of all images; by default they are drawn here, by an order that the batch size changes.
        batch_size: images at a time.
        seed: of the draws made here.
        device: where to compute.
        world: the processes that share the work.
    """
    squared = loss = 0.0
    rows = rows_of_rank(len(images), batch_size, world)
    start, pixels = int(rows[0]) if len(rows) else 0, math.prod(images.image_shape)
    generator = stream(seed, "reconstruct")
    with evaluation_mode(model):
        for batch, _ in Subset(images, rows).chunks(batch_size):
            x = to_float(batch.to(device))
            z = model.encode(x, generator).sample if codes is None else codes[start : start + len(x)].to(x)
            output = model.decoder(z).to(x)
            if output.shape != x.shape:
                raise InputError(f"decoder: {tuple(output.shape)} returned; return {tuple(x.shape)}")
            start += len(x)
            squared += float((model.likelihood.mean(output) - x).square().sum())
            loss += float(model.likelihood.loss(output, x)) * len(x)
    squared, loss = world.sum(torch.tensor([squared, loss], dtype=torch.float64)).tolist()
    return Reconstruction(mse=squared / (len(images) * pixels), loss=loss / len(images))


_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(x: Float[Tensor, "n c h w"], y: Tensor) -> Float[Tensor, "n"]:
    """Return the mean structural similarity of each pair of images in [0, 1], 1 for equal ones.

    Wang, Bovik, Sheikh and Simoncelli (2004), equation 13, with their Gaussian window of 11 by 11 pixels
    and standard deviation 1.5, K1 = .01, K2 = .03, L = 1; channels apart, then averaged, over the places
    where the whole window fits. Smaller images take the largest odd window that fits.

    Raises:
        InputError: images of different shapes.
    """
    if x.shape != y.shape:
        raise InputError(f"images: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give equal ones")
    window = _window(min(_WINDOW, *x.shape[2:])).to(x)
    channels = x.shape[1]

    def blur(values: Tensor) -> Tensor:
        rows = functional.conv2d(values, window.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
        return functional.conv2d(rows, window.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x.square(), blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    different = (mean_x.square() + mean_y.square() + _C1) * (var_x + var_y + _C2)
    return (similar / different).flatten(1).mean(1)


@torch.no_grad()
def reconstruction_ssim(
    model: Autoencoder,
    images: ImageSet,
    codes: Float[Tensor, "n d"],
    *,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
) -> float:
    """Return the mean SSIM of images and their reconstructions, clamped to [0, 1].

    Args:
        model: on ``device``.
        images: in the order of ``codes``.
        codes: one draw of each image.
        batch_size: images at a time.
        device: where to compute.
    """
    total, start = 0.0, 0
    with evaluation_mode(model):
        for batch, _ in images.chunks(batch_size):
            x = to_float(batch.to(device))
            decoded = model.decode(codes[start : start + len(x)].to(x)).to(x).clamp(0, 1)
            total += float(ssim(x, decoded).double().sum())
            start += len(x)
    return total / max(start, 1)


def _window(size: int) -> Float[Tensor, "k"]:
    """Return a Gaussian of an odd size at most ``size``, of sum one."""
    half = (size - 1) // 2
    places = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = torch.exp(-places.square() / (2 * _SIGMA**2))
    return weights / weights.sum()
