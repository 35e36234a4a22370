"""Which step was the first whose loss was not finite, found without waiting for the device."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["NONFINITE", "Finiteness", "write_nonfinite"]

NONFINITE = "nonfinite.json"


class Finiteness:
    """Remembers the first non-finite step and the parts of its loss, on the device.

    Attributes:
        broken: whether there was one, a 0-dim bool tensor on the device.

    Args:
        names: of the parts.
        device: where the losses lie.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names = tuple(names)
        self.broken = torch.zeros((), dtype=torch.bool, device=device)
        self._step = torch.zeros((), dtype=torch.long, device=device)
        self._parts = torch.zeros(len(self.names), device=device)

    def see(self, step: int, loss: Tensor, *parts: Tensor) -> None:
        """Take the detached loss of a step and its parts; all of them must be finite."""
        seen = torch.stack([part.float() for part in parts])
        bad = ~(torch.isfinite(loss) & torch.isfinite(seen).all())
        new = bad & ~self.broken
        self._step.masked_fill_(new, step)
        self._parts = torch.where(new, seen, self._parts)
        self.broken = self.broken | bad

    def first(self) -> tuple[int, dict[str, float]]:
        """Return the first broken step, counted from 0, and its parts; waits for the device."""
        return int(self._step), dict(zip(self.names, self._parts.tolist(), strict=True))


def write_nonfinite(folder: Path, step: int, parts: Mapping[str, float], rows: Tensor) -> None:
    """Write which step broke, on which rows of the training images, beside the checkpoints."""
    content = {
        "step": step,
        "parts": {name: value if math.isfinite(value) else str(value) for name, value in parts.items()},
        "indices": rows.tolist(),
    }
    (folder / NONFINITE).write_text(json.dumps(content, indent=2) + "\n")
