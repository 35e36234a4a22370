"""What a regularizer needs besides codes: the model, training images, and training of its learned parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmdprior.data import ImageSet
from mmdprior.data.labelled import labels_of
from mmdprior.data.source import to_float
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder
from mmdprior.regularizers import Regularizer, SumOfPenalties
from mmdprior.regularizers.regularizer import loss_of_auxiliary
from mmdprior.training.distributed import average_gradients
from mmdprior.world import World

__all__ = ["LearnedParts", "auxiliary_optimizer", "prepare"]


def prepare(
    regularizer: Regularizer, model: Autoencoder, images: ImageSet, labelled: ImageSet | None = None
) -> None:
    """Pass the model, the training images and their labels to a regularizer.

    Args:
        regularizer: the penalty.
        model: the autoencoder.
        images: the training images.
        labelled: the images whose labels may be used; all by default.
    """

    def examples(count: int) -> Tensor:
        """Return evenly spaced training images, on the device of the model."""
        rows = torch.linspace(0, len(images) - 1, min(count, len(images))).long().unique()
        return to_float(images.gather(rows)[0]).to(next(model.parameters()).device)

    regularizer.before_training(model=model, images=len(images), examples=examples)
    if any(penalty.on_labelled for penalty in _single_penalties(regularizer)):
        labelled = images if labelled is None else labelled
        regularizer.set_labels(labelled.label_names, labels_of(labelled))


def auxiliary_optimizer(
    regularizer: Regularizer, learning_rate: float | None = None, betas: Sequence[float] | None = None
) -> torch.optim.Optimizer | None:
    """Return Adam for the learned parts of a regularizer; None if it has none.

    Args:
        regularizer: the penalty, on its device.
        learning_rate: step size for all parts; None, the default, for that of each penalty.
        betas: decay rates for all parts; None, the default, for those of each penalty.

    Example:
        >>> from mmdprior.regularizers import Predictability
        >>> auxiliary_optimizer(Predictability(3)).param_groups[0]["lr"]
        0.001
    """
    groups: dict[tuple[float, ...], list[nn.Parameter]] = {}
    for penalty in _single_penalties(regularizer):
        rate = penalty.auxiliary_learning_rate if learning_rate is None else learning_rate
        key = (rate, *(penalty.auxiliary_betas if betas is None else betas))
        parameters = [p for module in penalty.auxiliary_modules() for p in module.parameters()]
        groups.setdefault(key, []).extend(parameters)
    options: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "betas": (first, second)}
        for (rate, first, second), parameters in groups.items()
        if parameters
    ]
    return torch.optim.Adam(options, fused=True) if options else None


def _single_penalties(regularizer: Regularizer) -> Iterator[Regularizer]:
    if isinstance(regularizer, SumOfPenalties):
        for penalty in regularizer.penalties:
            assert isinstance(penalty, Regularizer)
            yield from _single_penalties(penalty)
    else:
        yield regularizer


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

    def train(self, latent: Latent, step: int) -> None:
        """Run `Regularizer.auxiliary_steps` updates of the parts.

        Args:
            latent: codes of the global batch, detached.
            step: training step.
        """
        if self.optimizer is None:
            return
        self.freeze(frozen=False)
        updates = self.regularizer.auxiliary_steps
        for update in range(step * updates, (step + 1) * updates):
            self.optimizer.zero_grad(set_to_none=True)
            loss_of_auxiliary(self.regularizer, latent, update).backward()
            # The parts are not under DDP. All ranks see the same codes, so the average only removes
            # differences in rounding, which would accumulate over many steps.
            average_gradients(self.parameters(), self.world)
            self.optimizer.step()
