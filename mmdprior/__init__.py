"""Autoencoders with programmable priors: KL and MMD penalties, and LPS to score the codes.

Names are imported on first use, so that ``import mmdprior`` stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from mmdprior import flows, kernels, metrics, priors, regularizers, testing
    from mmdprior.errors import InputError
    from mmdprior.latent import Latent
    from mmdprior.metrics import LPSResult, disentanglement, importance, independence, lps
    from mmdprior.regularizers import KL, MMD, mmd

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "KL",
    "LPSResult",
    "Latent",
    "MMD",
    "disentanglement",
    "flows",
    "importance",
    "independence",
    "kernels",
    "load",
    "lps",
    "metrics",
    "mmd",
    "priors",
    "regularizers",
    "testing",
]

_PLACES = {
    "InputError": "errors",
    "KL": "regularizers",
    "LPSResult": "metrics",
    "Latent": "latent",
    "MMD": "regularizers",
    "disentanglement": "metrics",
    "importance": "metrics",
    "independence": "metrics",
    "lps": "metrics",
    "mmd": "regularizers",
}
"""Module that defines each public name; the other names are packages."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    checkpoint: "str | PathLike[str]", *, device: str = "cpu", trust: bool = False, averaged: bool = True
) -> Any:
    """Load the trained model of a checkpoint, or the bijection of a file, in evaluation mode.

    The checkpoint alone is enough: neither the data nor the config file is read.

    Args:
        checkpoint: path of a file that training or ``mmdprior sculpt`` wrote, or of a run directory, which
            stands for its last checkpoint.
        device: torch device of the returned model, or ``auto``.
        trust: whether a ``target`` that the checkpoint names may be imported, which runs its code.
        averaged: whether to load the averaged weights, where ``trainer.average`` kept them.

    Returns:
        The model, whose ``encode`` returns a `Latent` and whose ``decode`` returns images. ``encode`` raises
        `InputError` for images of another shape than those of the training, and for images that are not
        float in [0, 1]. For codes that ``mmdprior sculpt`` mapped, the `mmdprior.flows.Bijection`:
        ``z = bijection(h)`` and ``h = bijection.inverse(z)``.

    Raises:
        InputError: the file is missing, damaged or not a checkpoint, or it names a target and ``trust``
            is not set.

    Example:
        >>> import mmdprior
        >>> mmdprior.load("missing.pt")
        Traceback (most recent call last):
        mmdprior.errors.InputError: missing.pt: no such file; give a checkpoint (.pt)
    """
    from mmdprior.build.device import choose_device
    from mmdprior.build.restore import load_model
    from mmdprior.flows.saved import is_bijection_file, load_bijection

    if is_bijection_file(checkpoint):
        return load_bijection(checkpoint, choose_device(device))
    return load_model(checkpoint, device=device, trust=trust, averaged=averaged)
