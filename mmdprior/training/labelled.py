"""The labelled batch of a step: encoded with the unlabelled one, and seen only by penalties on labels."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mmdprior.data import Batch, Batches
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Labelled
from mmdprior.world import World

__all__ = ["labelled_codes", "with_labelled"]


def with_labelled(batches: Batches, labelled: Batches | None, start: int) -> Iterator[Batch]:
    """Yield the batches from a step on, each with the labelled batch of its step.

    Args:
        batches: batches of the training set.
        labelled: batches of its labelled part; None for none.
        start: first step.
    """
    if labelled is None:
        yield from batches.stream(start)
        return
    for batch, few in zip(batches.stream(start), labelled.stream(start), strict=True):
        yield replace(batch, labelled=few)


def labelled_codes(
    network: Autoencoder,
    params: Tensor | None,
    batch: Batch,
    noise: torch.Generator,
    world: World,
    *,
    flow_only: bool,
) -> Labelled | None:
    """Return codes and labels of the global labelled batch; None without one.

    Args:
        network: the autoencoder.
        params: posterior parameters of this rank's labelled images.
        batch: this rank's rows of the global batch.
        noise: generator of the posterior noise, in the same state on every rank.
        world: ranks that share the batch.
        flow_only: whether the gradient reaches only the flow of the model.
    """
    if batch.labelled is None or params is None:
        return None
    latent = network.posterior(world.gather(params), noise)
    penalised = network.through_flow(latent.detach() if flow_only else latent)
    return Labelled(penalised, world.gather(batch.labelled.labels))
