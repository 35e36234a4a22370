"""Disentanglement with programmable priors: MMD and KL penalties, and LPS to score the codes."""

from typing import TYPE_CHECKING

from mmdprior import kernels, priors
from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.metrics import LPSResult, lps
from mmdprior.regularizers import KL, MMD, mmd

if TYPE_CHECKING:
    from os import PathLike

    from mmdprior.models import Autoencoder

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "KL",
    "LPSResult",
    "Latent",
    "MMD",
    "kernels",
    "load",
    "lps",
    "mmd",
    "priors",
]


def load(
    checkpoint: "str | PathLike[str]", *, device: str = "cpu", trust: bool = False, averaged: bool = True
) -> "Autoencoder":
    """Rebuild the model of a checkpoint, in evaluation mode, ready to encode and decode.

    Args:
        checkpoint: a file that training wrote.
        device: where to put the model.
        trust: run the code that a ``target`` inside the checkpoint names.
        averaged: take the averaged weights where there are any (``trainer.average``), else the last ones.

    Raises:
        InputError: a file that is missing, damaged or no checkpoint, or one that names a target
            without trust.
    """
    from mmdprior.build.restore import load_model

    return load_model(checkpoint, device=device, trust=trust, averaged=averaged)
