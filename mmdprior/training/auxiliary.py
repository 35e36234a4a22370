"""Training of a regularizer's learned parts, such as a discriminator."""

from dataclasses import dataclass

import torch
from torch import nn

from mmdprior.latent import Latent
from mmdprior.regularizers import Regularizer
from mmdprior.training.distributed import average_gradients
from mmdprior.world import World

__all__ = ["LearnedParts"]


@dataclass(frozen=True)
class LearnedParts:
    """Trains `Regularizer.auxiliary_modules` by `Regularizer.auxiliary_loss`, separately from the model.

    Attributes:
        regularizer: regularizer that holds the parts.
        optimizer: optimizer of their parameters; None if there are none.
        world: ranks over which gradients are averaged.
    """

    regularizer: Regularizer
    optimizer: torch.optim.Optimizer | None
    world: World

    def freeze(self, *, frozen: bool) -> None:
        """Switch gradients of the parts off, for the model's loss, or on, for their own."""
        for module in self.regularizer.auxiliary_modules():
            module.requires_grad_(not frozen)

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the parts."""
        return [p for module in self.regularizer.auxiliary_modules() for p in module.parameters()]

    def train(self, latent: Latent) -> None:
        """Run `Regularizer.auxiliary_steps` updates of the parts.

        Args:
            latent: codes of the global batch, detached.
        """
        if self.optimizer is None:
            return
        self.freeze(frozen=False)
        for _ in range(self.regularizer.auxiliary_steps):
            self.optimizer.zero_grad(set_to_none=True)
            self.regularizer.auxiliary_loss(latent).backward()
            # The parts are not under DDP. All ranks see the same codes, so the average only removes
            # differences in rounding, which would accumulate over many steps.
            average_gradients(self.parameters(), self.world)
            self.optimizer.step()
