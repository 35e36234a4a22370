"""Warnings about codes whose checks synchronise with the device at few steps only."""

import warnings

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from mmdprior.errors import InputWarning
from mmdprior.tracing import is_traced

__all__ = ["SparseWarning"]

_SECOND = 16
"""Call of the second check; the following ones are at 32, 64, 128, ..."""


class SparseWarning:
    """A warning about codes, issued once. It is checked at call 1, at call 16, then at every doubling.

    A check reads numbers, so it synchronises with the GPU. It must not be part of every step.

    Example:
        >>> import torch
        >>> warning, codes = SparseWarning(), torch.zeros(2, 2, requires_grad=True)
        >>> [call for call in range(1, 101) if warning.is_due(codes)]
        [1, 16, 32, 64]
    """

    def __init__(self) -> None:
        self._calls = 0
        self._given = False

    def is_due(self, codes: Tensor) -> bool:
        """Count a call, and return whether its codes are to be checked; only codes with a gradient count."""
        if self._given or is_traced() or not codes.requires_grad or isinstance(codes, FakeTensor):
            return False
        self._calls += 1
        return self._calls == 1 or (self._calls >= _SECOND and self._calls & (self._calls - 1) == 0)

    def give(self, text: str) -> None:
        """Warn, and end the checks."""
        self._given = True
        warnings.warn(text, InputWarning, stacklevel=4)
