"""How much of the images the codes keep."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.data import ImageSet
from mmdprior.data.batches import to_float
from mmdprior.errors import InputError
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.seeding import stream

__all__ = ["Reconstruction", "reconstruction_error"]


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
) -> Reconstruction:
    """Reconstruct a data set and measure the error.

    Args:
        model: on ``device``.
        images: in the order of ``codes``.
        codes: draws of all images; by default they are drawn here, by an order that the batch size changes.
        batch_size: images at a time.
        seed: of the draws made here.
        device: where to compute.
    """
    squared = loss = 0.0
    start, pixels = 0, math.prod(images.image_shape)
    generator = stream(seed, "reconstruct")
    with evaluation_mode(model):
        for batch, _ in images.chunks(batch_size):
            x = to_float(batch.to(device))
            z = model.encode(x, generator).sample if codes is None else codes[start : start + len(x)].to(x)
            output = model.decoder(z).to(x)
            if output.shape != x.shape:
                raise InputError(f"decoder: {tuple(output.shape)} returned; return {tuple(x.shape)}")
            start += len(x)
            squared += float((model.likelihood.mean(output) - x).square().sum())
            loss += float(model.likelihood.loss(output, x)) * len(x)
    return Reconstruction(mse=squared / (len(images) * pixels), loss=loss / len(images))
