"""The device of a run."""

import torch

from mmdprior.errors import InputError

__all__ = ["choose_device"]

_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")


def choose_device(name: str) -> torch.device:
    """Return a torch device that works on this machine.

    Args:
        name: a torch device such as ``cuda:1``, or ``auto``: cuda, otherwise mps, otherwise cpu.

    Raises:
        InputError: an unknown device, or one that this machine does not have.

    Example:
        >>> from mmdprior.build import choose_device
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type in _DEVICE_TYPES:
            torch.empty(0, device=device)  # fails where torch knows the type but cannot use it
            return device
    except (AssertionError, NotImplementedError, RuntimeError):
        pass
    raise InputError(f"device: {name!r} received; not available on this machine; give auto or cpu")
