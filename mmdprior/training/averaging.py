"""The average of a model's weights over training, which often scores better than the last ones."""

import copy

import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.models import Autoencoder

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average: average += (1 - decay) (weights - average) after every update.

    Until 1 / (1 - decay) updates it is the plain mean of all weights so far, so that it forgets the start.

    Attributes:
        model: with the averaged weights, in evaluation mode.

    Args:
        model: whose weights are averaged; buffers are copied as they are.
        decay: share that is kept at each update, in [0, 1).

    Raises:
        InputError: another decay.
    """

    def __init__(self, model: Autoencoder, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"average: {decay} received; give a share in [0, 1), such as 0.999")
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._source: list[Tensor] = [parameter.detach() for parameter in model.parameters()]
        self._average = [parameter.detach() for parameter in self.model.parameters()]
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the model's weights after so many updates in all, at least 1."""
        share = max(1 - self.decay, 1 / updates)
        torch._foreach_lerp_(self._average, self._source, share)
        for average, source in self._buffers:
            average.copy_(source)
