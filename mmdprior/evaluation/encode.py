"""Encode data once; every score is computed from these codes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.data import ImageSet, Subset
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.precision import full_convolutions, full_precision
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Codes", "encode", "representations", "rows_of_rank"]


@dataclass(frozen=True)
class Codes:
    """Codes of a data set, with its labels.

    Attributes:
        latent: samples, means and log-variances of all images, on the device of the model.
        labels: (n, k) labels or factors.
        label_names: one a column.
    """

    latent: Latent
    labels: Tensor
    label_names: tuple[str, ...]


@torch.no_grad()
def encode(
    model: Autoencoder,
    images: ImageSet,
    *,
    batch_size: int = 512,
    seed: int = 0,
    device: torch.device | str = "cpu",
    world: World = World(),  # noqa: B008, it is frozen
) -> Codes:
    """Encode a data set in order; every process encodes its share and gets the codes of all.

    The posterior noise of all images is drawn at once and on the CPU, so neither the batch size nor
    the device changes it; and the encoder runs in full precision, whatever autocast or TF32 say, so that
    codes of two devices agree.

    Args:
        model: in evaluation mode while it encodes, left as it was.
        images: float or uint8.
        batch_size: images at a time.
        seed: of the posterior noise.
        device: where the model lies.
        world: the processes that share the work, each with the model.

    Raises:
        InputError: codes that are not finite.
    """
    params: list[Tensor] = []
    labels: list[Tensor] = []
    kind = torch.device(device).type
    with evaluation_mode(model), full_precision(kind), full_convolutions():
        rows = rows_of_rank(len(images), batch_size, world)
        for batch, batch_labels in Subset(images, rows).chunks(batch_size):
            params.append(model.posterior_params(to_float(batch.to(device))))
            labels.append(batch_labels.cpu())
        everyone = world.gather_ragged(torch.cat(params))
        latent = model.posterior(everyone, stream(seed, "encode"))
    bad = ~torch.isfinite(latent.sample).all(1)
    if bool(bad.any()):
        raise InputError(
            f"encoder: NaN or infinity in {int(bad.sum())} of {len(bad)} codes; its weights or images are bad"
        )
    return Codes(latent, world.gather_ragged(torch.cat(labels)), images.label_names)


def rows_of_rank(n: int, batch_size: int, world: World) -> Tensor:
    """Return the rows of a process: whole batches where there are enough of them."""
    batches = -(-n // batch_size)
    unit, count = (batch_size, batches) if batches >= world.size else (1, n)
    first, last = (unit * (r * count // world.size) for r in (world.rank, world.rank + 1))
    return torch.arange(min(first, n), min(last, n))


def representations(latent: Latent) -> dict[str, Float[Tensor, "n d"]]:
    """Return the codes to be scored by name: ``mean``, and ``sample`` where it differs."""
    if not latent.stochastic:
        return {"mean": latent.mean}
    return {"mean": latent.mean, "sample": latent.sample}
