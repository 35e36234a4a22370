"""How much of the images the codes keep."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.data import ImageSet, Subset
from mmdprior.data.batches import to_float
from mmdprior.errors import InputError
from mmdprior.evaluation.codes import share_of
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.seeding import stream
from mmdprior.world import World

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
    rows = share_of(len(images), batch_size, world)
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
