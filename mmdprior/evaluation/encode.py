"""Encode a data set. All scores of the codes are computed from the result."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.data import ImageSet, KnownFactors, Subset
from mmdprior.data.source import to_float
from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, evaluation_mode
from mmdprior.precision import full_convolutions, full_precision
from mmdprior.seeding import stream
from mmdprior.world import World

__all__ = ["Codes", "encode", "representations", "rows_of_rank"]

_FLOW_ROWS = 8192
"""Codes that are mapped through a flow at once."""


@dataclass(frozen=True)
class Codes:
    """Codes and labels of a data set, in the order of its images.

    Attributes:
        latent: samples, means and log-variances of the codes, one row per image, on the model's device.
        labels: (n, k) labels or generative factors, on the CPU; k is 0 without labels.
        label_names: one name per label column.
        factors: which labels are known factors of variation; None if none is.

    Example:
        Codes that another encoder has computed, without labels:

        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import Codes
        >>> z = torch.randn(1000, 8)
        >>> Codes(Latent(z, z), labels=torch.empty(1000, 0), label_names=()).latent.dim
        8
    """

    latent: Latent
    labels: Tensor
    label_names: tuple[str, ...]
    factors: KnownFactors | None = None

    def save(self, path: str | Path) -> None:
        """Write mean, labels, label_names and, of a stochastic encoder, sample and log_var to one file.

        Args:
            path: ``.npz`` file, whose folder is created.
        """
        arrays = {"mean": self.latent.mean, "labels": self.labels}
        if self.latent.log_var is not None:
            arrays |= {"sample": self.latent.sample, "log_var": self.latent.log_var}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        plain = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
        np.savez(path, label_names=np.array(self.label_names, dtype=str), **plain)  # type: ignore[arg-type]


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
    """Encode all images of a data set, in order.

    Up to rounding error, the codes do not depend on the batch size, the device or the number of processes.
    For this, the posterior noise of all images is drawn in one call on the CPU, and the encoder runs in
    full float32 precision, with autocast and TF32 switched off.

    Args:
        model: model on ``device``. It runs in evaluation mode; the training flags of its modules are
            restored afterwards.
        images: data set of uint8 or float images.
        batch_size: images per forward pass.
        seed: seed of the posterior noise.
        device: device of the model.
        world: processes that share the work, each with the whole model; one process by default. Every
            process encodes some of the images and returns the codes of all images.

    Raises:
        InputError: a code is NaN or infinite.

    Example:
        >>> from mmdprior.data import sprites
        >>> from mmdprior.evaluation import encode
        >>> from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
        >>> shape = (1, 64, 64)
        >>> model = Autoencoder(MLPEncoder(shape, 4, hidden=[8]), MLPDecoder(shape, 4, hidden=[8]))
        >>> codes = encode(model, sprites(images=100).train)
        >>> codes.latent.mean.shape, codes.label_names
        (torch.Size([100, 4]), ('shape', 'scale', 'orientation', 'x', 'y'))
    """
    params: list[Tensor] = []
    labels: list[Tensor] = []
    device_type = torch.device(device).type
    with evaluation_mode(model), full_precision(device_type), full_convolutions():
        rows = rows_of_rank(len(images), batch_size, world)
        for batch, batch_labels in Subset(images, rows).chunks(batch_size):
            params.append(model.posterior_params(to_float(batch.to(device))))
            labels.append(batch_labels.cpu())
        # Gather the parameters, not the codes: every rank then draws the same noise for all images.
        all_params = world.gather_ragged(torch.cat(params))
        latent = _through_flow(model, model.posterior(all_params, stream(seed, "encode")))
    bad = ~torch.isfinite(latent.sample).all(1)
    if bool(bad.any()):
        raise InputError(
            f"encoder: NaN or infinity in {int(bad.sum())} of {len(bad)} codes; check the encoder's weights "
            "and the images"
        )
    return Codes(latent, world.gather_ragged(torch.cat(labels)), images.label_names, images.factors)


def _through_flow(model: Autoencoder, latent: Latent) -> Latent:
    """Map codes through the flow of a model in blocks, which bound the memory."""
    if model.flow is None:
        return latent
    parts = [part for part in (latent.sample, latent.mean, latent.log_var) if part is not None]
    blocks = zip(*(part.split(_FLOW_ROWS) for part in parts), strict=True)
    mapped = [model.through_flow(Latent(*block)) for block in blocks]
    log_vars = [part.log_var for part in mapped if part.log_var is not None]
    return Latent(
        torch.cat([part.sample for part in mapped]),
        torch.cat([part.mean for part in mapped]),
        torch.cat(log_vars) if log_vars else None,
        latent,
    )


def rows_of_rank(n: int, batch_size: int, world: World) -> Tensor:
    """Return the indices of the rows, out of n, that this rank processes: one contiguous block per rank.

    With at least one batch per rank, each rank gets whole batches, so that the batches are the same for any
    number of processes. Otherwise the rows are divided evenly.
    """
    batches = -(-n // batch_size)  # rounded up
    unit, count = (batch_size, batches) if batches >= world.size else (1, n)
    first, last = (unit * (rank * count // world.size) for rank in (world.rank, world.rank + 1))
    return torch.arange(min(first, n), min(last, n))


def representations(latent: Latent) -> dict[str, Float[Tensor, "n d"]]:
    """Return the codes that are scored: ``mean``, and ``sample`` if the posterior is stochastic.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.evaluation import representations
        >>> codes = torch.randn(10, 2)
        >>> list(representations(Latent(codes, codes)))
        ['mean']
    """
    if not latent.stochastic:
        return {"mean": latent.mean}
    return {"mean": latent.mean, "sample": latent.sample}
