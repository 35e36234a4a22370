"""Averages of a model's weights over training, which often score better than the last weights."""

import copy

import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.models import Autoencoder

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of weights, average += (1 - decay) (weights - average) per update.

    For the first 1 / (1 - decay) updates it is the plain mean of all weights so far, so that the initial
    weights do not bias it.

    Args:
        model: model whose weights are averaged. Buffers are copied, not averaged.
        decay: share of the average that each update keeps, in [0, 1).

    Attributes:
        model: copy with the averaged weights, in evaluation mode.

    Raises:
        InputError: ``decay`` is out of range.

    Example:
        >>> from torch import nn
        >>> model = Autoencoder(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> average = WeightAverage(model, decay=0.99)
        >>> for update in (1, 2, 3):
        ...     _ = nn.init.constant_(model.encoder.bias, float(update))
        ...     average.update(update)
        >>> average.model.encoder.bias.tolist()  # the mean of 1, 2 and 3
        [2.0, 2.0]
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
        """Include the model's current weights in the average.

        Args:
            updates: number of updates of the weights so far, at least 1.
        """
        share = max(1 - self.decay, 1 / updates)
        torch._foreach_lerp_(self._average, self._source, share)
        for average, source in self._buffers:
            average.copy_(source)
