"""Codes of past batches, kept to enlarge the sample that a penalty compares."""

import torch
from torch import Tensor, nn

from mmdprior.errors import InputError

__all__ = ["CodeQueue"]


class CodeQueue(nn.Module):
    """The last codes seen, first in, first out; part of the state dict.

    Args:
        size: how many; 0 keeps none.
        dim: number of latent dimensions.

    Raises:
        InputError: a negative size.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 0:
            raise InputError(f"queue: {size} received; give a number of codes >= 0")
        self.size = size
        self.register_buffer("codes", torch.zeros(size, dim))
        self.codes: Tensor
        self._filled = 0

    def joined(self, z: Tensor, *, keep: bool) -> Tensor:
        """Return a batch with the past codes below it, and keep it for later if asked.

        The values are those of the codes; the gradient of the batch is scaled by the growth of the sample.
        """
        if self.size == 0:
            return z
        past = self.codes[: self._filled].to(z, copy=True)
        if keep:
            recent = torch.cat([z.detach().to(self.codes), self.codes[: self._filled]])[: self.size]
            self.codes[: len(recent)] = recent
            self._filled = len(recent)
        if len(past) == 0:
            return z
        growth = (len(z) + len(past)) / len(z)
        return torch.cat([growth * z - (growth - 1) * z.detach(), past])

    def get_extra_state(self) -> Tensor:
        """Return how many codes are there, for the state dict."""
        return torch.tensor(self._filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back how many codes are there."""
        self._filled = int(state)
