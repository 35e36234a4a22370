"""The regularizer's learned parts, trained beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.regularizers import Regularizer
from mmdprior.training.distributed import average_gradients
from mmdprior.world import World

__all__ = ["LearnedParts", "load_optimizer"]


@dataclass(frozen=True)
class LearnedParts:
    """Trains `Regularizer.auxiliary_modules` by their own loss; the model's loss leaves them alone.

    Attributes:
        regularizer: whose parts they are.
        optimizer: of their parameters; None where there are none.
        world: over which gradients are averaged.
    """

    regularizer: Regularizer
    optimizer: torch.optim.Optimizer | None
    world: World

    def freeze(self, *, frozen: bool) -> None:
        """Switch their gradients off for the model's loss, or on for their own."""
        for module in self.regularizer.auxiliary_modules():
            module.requires_grad_(not frozen)

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained apart."""
        return [p for module in self.regularizer.auxiliary_modules() for p in module.parameters()]

    def train(self, latent: Latent) -> None:
        """Update them on codes that carry no gradient."""
        if self.optimizer is None:
            return
        self.freeze(frozen=False)
        for _ in range(self.regularizer.auxiliary_steps):
            self.optimizer.zero_grad(set_to_none=True)
            self.regularizer.auxiliary_loss(latent).backward()
            average_gradients(self.parameters(), self.world)
            self.optimizer.step()


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state; moments of another shape than their parameters would crash a step."""
    optimizer.load_state_dict(dict(state))
    for parameter, entries in optimizer.state.items():
        for name, entry in entries.items():
            if isinstance(entry, Tensor) and entry.ndim > 0 and entry.shape != parameter.shape:
                raise InputError(f"optimizer {name}: {tuple(entry.shape)} for {tuple(parameter.shape)}")
