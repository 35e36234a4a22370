"""Processes that torchrun starts: joining them, and keeping their weights equal."""

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

__all__ = ["average_gradients", "broadcast_state", "join", "replicate"]

_TIMEOUT = timedelta(hours=2)
"""Timeout of a collective: the other ranks wait in one while rank 0 scores and writes."""

_DDP_PARAMETERS = inspect.signature(DistributedDataParallel).parameters
_DDP_OPTIONS: Mapping[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _DDP_PARAMETERS else "broadcast_buffers": False
}
"""No broadcast of buffers in every forward pass, under the option's name in the installed torch."""


def join(device: torch.device) -> tuple[World, torch.device]:
    """Join the process group of torchrun, and return this process's rank and device.

    NCCL carries tensors on GPUs, Gloo those on the CPU. Without torchrun nothing is joined.

    Args:
        device: device of the run. Under torchrun, ``cuda`` becomes the GPU of the local rank.

    Returns:
        The rank among all processes, and the device to train on.

    Raises:
        InputError: more processes than GPUs on this machine, or a device without a distributed backend.

    Example:
        >>> join(torch.device("cpu"))
        (World(rank=0, size=1, local_rank=0), device(type='cpu'))
    """
    world = World.from_environment()
    if world.size == 1:
        # "cuda" without an index is the current device already; set_device accepts only an index.
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return world, device
    if device.type == "cuda":
        if world.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"torchrun: process {world.local_rank + 1} received on a machine with "
                f"{torch.cuda.device_count()} GPUs; give --nproc-per-node {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", world.local_rank)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise InputError(f"trainer.device: {device.type} received under torchrun; give cuda or cpu")
    if not dist.is_initialized():  # a process that assembles two runs joins once
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_TIMEOUT)
        atexit.register(_leave)
    return world, device


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def replicate(model: Autoencoder, world: World) -> Autoencoder:
    """Return the model with encoder and decoder under DDP; it shares all weights with the given one.

    Posterior, flow and likelihood stay outside, since they run on the gathered codes of all ranks. Buffers
    are not synchronised: shipped models change none.
    """
    if world.size == 1:
        return model
    encoder, decoder = _under_ddp(model.encoder), _under_ddp(model.decoder)
    return model.with_networks(encoder, decoder)


def _under_ddp(module: nn.Module) -> nn.Module:
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return module  # DDP refuses modules without trainable parameters
    return DistributedDataParallel(module, **_DDP_OPTIONS)


def broadcast_state(module: nn.Module, world: World) -> None:
    """Copy parameters and buffers of rank 0 to all ranks, in place."""
    if world.size > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
            torch.autograd.graph.increment_version(tensor)  # the collective does not count as an edit


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Average gradients over ranks, for parameters outside DDP; one all-reduce per dtype.

    Args:
        parameters: parameters that have, or lack, a gradient on all ranks alike.
        world: ranks to average over.
    """
    if world.size == 1:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_dtype.values():
        # One flat tensor: a message per parameter would cost a latency each.
        flat = world.sum(torch.cat([gradient.flatten() for gradient in gradients])) / world.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))
