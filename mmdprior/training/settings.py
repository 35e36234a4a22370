"""Settings of the trainer in three groups: numerics, checkpointing, model selection."""

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

__all__ = [
    "Checkpointing",
    "ModelSelection",
    "Numerics",
    "Precision",
    "accept_old_names",
    "autocast",
    "faster_layout",
    "faster_precision",
]

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Numerics:
    """How encoder and decoder compute.

    Attributes:
        precision: ``float32``, or ``bfloat16`` to run both networks under autocast. Losses, penalties and
            weights stay in float32.
        channels_last: convert every batch of images to the channels_last memory format. The caller converts
            the model.
        compile: run both networks through torch.compile.
        accumulate: number of parts into which each process splits its rows of a batch, for batches that do
            not fit in memory. The gradient is that of the whole batch; see
            `mmdprior.training.gradient_cache`.

    Example:
        >>> Numerics(precision="bfloat16", accumulate=4)
        Numerics(precision='bfloat16', channels_last=False, compile=False, accumulate=4)
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    accumulate: int = 1

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of the images."""
        return torch.channels_last if self.channels_last else torch.preserve_format


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are written, and which are kept.

    Attributes:
        folder: folder of the checkpoints; None writes none.
        every: steps between two writes of the last checkpoint.
        keep_every: steps between two checkpoints that are not overwritten; None keeps none.
        keep_last: number of those that stay, the newest; None keeps all.
        metadata: further entries of every checkpoint. `mmdprior.load` needs ``config``, ``image_shape`` and
            ``assets``.

    Example:
        >>> Checkpointing(Path("checkpoints"), every=500, keep_every=1000, keep_last=2).every
        500
    """

    folder: Path | None = None
    every: int = 1000
    keep_every: int | None = None
    keep_last: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


_RECONSTRUCTION = ("reconstruction/psnr", "reconstruction/r2")
"""Tags of the quality of reconstructions; higher is better."""


@dataclass(frozen=True)
class ModelSelection:
    """When the model is validated, and which validation is the best.

    Attributes:
        every: steps between two validations.
        monitor: tag of the number that selects the best checkpoint. The highest ``reconstruction/psnr`` is
            best, or ``reconstruction/r2``, which takes its place for vectors and signals, and the lowest
            value of any other tag.
        patience: number of validations in a row without improvement after which training ends; None trains
            for all steps.

    Example:
        >>> selection = ModelSelection(monitor="lps/linear", patience=5)
        >>> selection.score({"lps/linear": 0.25})
        -0.25
    """

    every: int = 1000
    monitor: str = "reconstruction/psnr"
    patience: int | None = None

    def score(self, values: Mapping[str, float]) -> float:
        """Return the monitored number with the sign that makes higher better; NaN where it is missing."""
        if self.monitor in _RECONSTRUCTION:  # images have the first, vectors and signals the second
            return next((values[tag] for tag in _RECONSTRUCTION if tag in values), math.nan)
        return -values.get(self.monitor, math.nan)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the autocast context of a precision; for ``float32`` one that does nothing."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def faster_precision(device: torch.device) -> Precision:
    """Return the precision of networks that ``auto`` stands for on a device.

    It is bfloat16 on GPUs of compute capability 8.0 or higher. On CPUs it is float32: measured with torch
    2.14 on a Xeon with AVX512-BF16, a step in bfloat16 takes 1.5 times (convolutional pair) to 1.9 times
    (residual networks) as long. On an AMD EPYC it takes 0.5 to 1.2 times as long, depending on the network.

    Args:
        device: device of the run.

    Example:
        >>> faster_precision(torch.device("cpu"))
        'float32'
    """
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def faster_layout(networks: nn.Module, sample_shape: tuple[int, ...]) -> bool:
    """Return whether ``channels_last: auto`` stands for that layout: for networks with image convolutions.

    Args:
        networks: encoder and decoder.
        sample_shape: shape of a sample.

    Example:
        >>> from mmdprior.models import ConvEncoder, LinearEncoder
        >>> [faster_layout(kind((3, 32, 32), 4), (3, 32, 32)) for kind in (ConvEncoder, LinearEncoder)]
        [True, False]
    """
    types = (nn.Conv2d, nn.ConvTranspose2d)
    return len(sample_shape) == 3 and any(isinstance(layer, types) for layer in networks.modules())


_GROUPS: Mapping[str, Callable[[], Any]] = {
    "numerics": Numerics,
    "checkpointing": Checkpointing,
    "selection": ModelSelection,
}
_OLD_NAMES = {
    "precision": "numerics.precision",
    "channels_last": "numerics.channels_last",
    "compile": "numerics.compile",
    "accumulate": "numerics.accumulate",
    "checkpoints": "checkpointing.folder",
    "checkpoint_every": "checkpointing.every",
    "keep_every": "checkpointing.keep_every",
    "keep_last": "checkpointing.keep_last",
    "identity": "checkpointing.metadata",
    "validate_every": "selection.every",
    "monitor": "selection.monitor",
    "patience": "selection.patience",
    "phases": "profiler",
}


def accept_old_names(init: Callable[..., None]) -> Callable[..., None]:
    """Return the trainer's ``__init__`` that also takes its ungrouped keyword arguments, with a warning."""

    @wraps(init)
    def wrapped(self: object, *arguments: Any, **options: Any) -> None:
        for old in _OLD_NAMES.keys() & options.keys():
            new, value = _OLD_NAMES[old], options.pop(old)
            warnings.warn(
                f"Trainer({old}=...) is now {new}; the old name will be removed in the next release",
                DeprecationWarning,
                stacklevel=2,
            )
            group, _, name = new.partition(".")
            options[group] = replace(options.get(group, _GROUPS[group]()), **{name: value}) if name else value
        init(self, *arguments, **options)

    return wrapped
