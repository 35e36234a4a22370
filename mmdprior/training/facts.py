"""Facts of a run that its numbers do not tell: device, versions, time."""

import platform
from typing import Any

import torch

from mmdprior.training.checkpoint import versions

__all__ = ["device_name", "run_facts"]


def run_facts(device: torch.device | str, seconds: float) -> dict[str, Any]:
    """Return device, versions and seconds of this process's part of a run.

    Args:
        device: where the run computed.
        seconds: from the first step to the last, with validation.
    """
    return {"device": device_name(device), "seconds": seconds, "versions": versions()}


def device_name(device: torch.device | str) -> str:
    """Return a device with the model of its chip."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return f"{kind} ({torch.cuda.get_device_name(kind)})"
    return f"{kind} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
