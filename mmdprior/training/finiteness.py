"""A non-finite loss: kept from the weights without waiting for the device, and told with its batch."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmdprior.data import Batches
from mmdprior.errors import InputError
from mmdprior.files import write_whole
from mmdprior.training.gradient import Losses

__all__ = ["NONFINITE", "Guard", "NonFiniteLossError"]

NONFINITE = "nonfinite.json"
_PARTS = ("reconstruction", "penalty", "gradient norm")


class NonFiniteLossError(InputError):
    """The loss, or its gradient's norm where that is clipped, was not finite; the weights are untouched."""


@dataclass
class Guard:
    """Keeps a non-finite step from the weights, and remembers the first, on the device.

    On a GPU the fused optimizer skips every update from that step on (the switch that GradScaler uses), and
    the error follows at the next logged step; elsewhere it follows at once.

    Attributes:
        optimizer: of the weights.
        device: where the losses lie.
        batches: tell the rows of a step.
        folder: for ``nonfinite.json``, beside the checkpoints; None writes none.
    """

    optimizer: torch.optim.Optimizer
    device: torch.device
    batches: Batches
    folder: Path | None

    def __post_init__(self) -> None:
        self._broken = torch.zeros((), dtype=torch.bool, device=self.device)
        self._step = torch.zeros((), dtype=torch.long, device=self.device)
        self._parts = torch.zeros(len(_PARTS), device=self.device)
        fused = getattr(self.optimizer, "_step_supports_amp_scaling", False)
        self._waits = self.device.type != "cuda" or not fused

    def see(self, step: int, losses: Losses, norm: Tensor) -> None:
        """Take the losses of a step and the norm of its gradient, before the update.

        Raises:
            NonFiniteLossError: where the optimizer cannot skip the update by itself.
        """
        parts = torch.stack([losses.reconstruction.float(), losses.penalty.float(), norm.float()])
        bad = ~torch.isfinite(losses.total + norm)
        if self._waits:
            if bool(bad):
                self._stop(step, parts)
            return
        new = bad & ~self._broken
        self._step.masked_fill_(new, step)
        self._parts = torch.where(new, parts, self._parts)
        self._broken |= bad
        self.optimizer.found_inf = self._broken.float()  # type: ignore[attr-defined]

    def check(self) -> None:
        """Wait for the device; raise `NonFiniteLossError` if any step so far was not finite."""
        if not self._waits and bool(self._broken):
            self._stop(int(self._step), self._parts)

    def _stop(self, step: int, values: Tensor) -> None:
        parts = dict(zip(_PARTS, values.tolist(), strict=True))
        kept = ""
        if self.folder is not None:
            _write(self.folder / NONFINITE, step, parts, next(self.batches.rows(step)))
            kept = f"; the batch's rows are in {self.folder / NONFINITE}, the last checkpoint is kept"
        told = ", ".join(f"{name} {value:g}" for name, value in parts.items())
        raise NonFiniteLossError(
            f"loss: not finite at step {step} ({told}){kept}; lower trainer.learning_rate or "
            "regularizer.weight, set trainer.gradient_clip, or look at the part that is not finite"
        )


def _write(path: Path, step: int, parts: Mapping[str, float], rows: Tensor) -> None:
    """Write which step broke, on which rows of the training images."""
    content = {
        "step": step,
        "parts": {name: value if math.isfinite(value) else str(value) for name, value in parts.items()},
        "indices": rows.tolist(),
    }
    write_whole(path, json.dumps(content, indent=2) + "\n")
