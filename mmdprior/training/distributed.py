"""Joining the processes that torchrun starts, and keeping their weights equal."""

import atexit
import inspect
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mmdprior.errors import InputError
from mmdprior.models import Autoencoder
from mmdprior.world import World

__all__ = ["average_gradients", "join", "replicate", "share_state"]

_PATIENCE = timedelta(hours=2)
"""How long processes wait for the main one, which scores and writes alone."""

_NAMES = inspect.signature(DistributedDataParallel).parameters
_OPTIONS: Mapping[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers": False
}
"""Buffers are not sent around in every forward pass; torch has renamed the option."""


def join(device: torch.device) -> tuple[World, torch.device]:
    """Join the processes that torchrun started, and return this one's place and device.

    NCCL carries what lies on a GPU, Gloo what lies on the CPU. Without torchrun: one process, the device
    as it is.

    Raises:
        InputError: more processes than GPUs on this machine, or a device that has no distributed backend.
    """
    world = World.from_environment()
    if world.size == 1:
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return world, device
    if device.type == "cuda":
        if world.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"torchrun: process {world.local_rank + 1} on a machine of {torch.cuda.device_count()} GPUs; "
                "give --nproc-per-node as many"
            )
        device = torch.device("cuda", world.local_rank)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise InputError(f"trainer.device: {device.type} received under torchrun; give cuda or cpu")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    atexit.register(_leave)
    return world, device


def replicate(model: Autoencoder, world: World) -> Autoencoder:
    """Return the model with encoder and decoder under DDP, sharing every weight with the one given.

    Buffers are not kept equal step by step: shipped models change none.
    """
    if world.size == 1:
        return model
    encoder, decoder = _replica(model.encoder), _replica(model.decoder)
    return Autoencoder(encoder, decoder, model.posterior, model.likelihood)


def _replica(module: nn.Module) -> nn.Module:
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return module
    return DistributedDataParallel(module, **_OPTIONS)


def share_state(module: nn.Module, world: World) -> None:
    """Give every process the main one's parameters and buffers."""
    if world.size > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Average the gradients of parameters that are under no DDP, all in one message a dtype."""
    if world.size == 1:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_dtype.values():
        flat = world.sum(torch.cat([gradient.flatten() for gradient in gradients])) / world.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
