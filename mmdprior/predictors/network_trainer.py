"""Training of batched networks, each stopped early."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.adamw import adamw

from mmdprior.errors import InputError, check_integer
from mmdprior.predictors.backpropagation import Loss, fill_gradients, outputs_by_part
from mmdprior.predictors.networks import BatchedMLP, InputsAndTargets

__all__ = ["NetworkTrainer"]

_MIN_STOPPED_SHARE = 0.15
"""Share of stopped networks from which removing them saves more than copying the others costs."""
_BLOCK, _BLOCK_ON_CPU = 4096, 512
"""Rows validated at a time, to bound memory, and to stay in the cache of a CPU."""


@dataclass(frozen=True)
class NetworkTrainer:
    """AdamW at a constant learning rate on the summed loss of all networks, each stopped early.

    After every epoch, each network whose validation loss is its best so far saves its weights. A network
    stops when it has not improved for ``patience`` epochs. Epoch 0, the untrained network, counts.

    Attributes:
        epochs: largest number of epochs.
        patience: epochs without improvement before a network stops.
        batch_size: rows per step.
        learning_rate: learning rate of AdamW.
        weight_decay: decoupled weight decay of AdamW.

    Raises:
        InputError: a setting is not positive, or ``weight_decay`` is negative.
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            check_integer(name, getattr(self, name))
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate: {self.learning_rate} received; give a positive number")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay: {self.weight_decay} received; give a number >= 0")

    def fit(
        self,
        model: BatchedMLP,
        train: InputsAndTargets,
        validation: InputsAndTargets,
        loss: Loss,
        generators: Sequence[torch.Generator],
    ) -> None:
        """Train the networks in place; each ends with the weights of its best epoch.

        Args:
            model: networks on the device of the rows.
            train: rows to fit.
            validation: rows for early stopping.
            loss: loss per network and row, from outputs and targets.
            generators: one random stream per problem, on the CPU, for the order of the rows.
        """
        with _training_mode(train.inputs.device.type):
            optimizer = _AdamW(model, self.learning_rate, self.weight_decay)
            best = _BestWeights(model, validation, loss)
            for _ in range(self.epochs):
                self._train_epoch(model, train, loss, optimizer, generators)
                running = best.update() < self.patience
                count = int(running.sum())
                if count == 0:
                    break
                if count < (1 - _MIN_STOPPED_SHARE) * len(running):
                    _drop_stopped(model, optimizer, best, running.nonzero().squeeze(1))
            best.restore()

    def _train_epoch(
        self,
        model: BatchedMLP,
        train: InputsAndTargets,
        loss: Loss,
        optimizer: "_AdamW",
        generators: Sequence[torch.Generator],
    ) -> None:
        count, device = train.inputs.shape[1], train.inputs.device
        order = torch.stack([torch.randperm(count, generator=g) for g in generators]).to(device)
        for rows in order.split(self.batch_size, dim=1):
            fill_gradients(model, *train.take(rows, model), loss)
            optimizer.step()


@contextmanager
def _training_mode(device_type: str) -> Iterator[None]:
    """Enable gradients and disable autocast: scores are often computed under no_grad or autocast."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
    ):
        yield


def _drop_stopped(
    model: BatchedMLP, optimizer: "_AdamW", best: "_BestWeights", running: Int[Tensor, "b"]
) -> None:
    """Drop networks that have stopped, to save compute, together with their optimizer state."""
    model.keep(running)
    optimizer.keep(running)
    best.networks, best.waited = best.networks[running], best.waited[running]


class _AdamW:
    """AdamW by torch's function for it.

    ``torch.optim.AdamW`` imports the compiler of torch when it is created, which takes more than a second.
    """

    def __init__(self, model: BatchedMLP, learning_rate: float, weight_decay: float) -> None:
        self.model = model
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        parameters = list(model.parameters())
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients."""
        parameters: list[Tensor] = list(self.model.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        adamw(
            parameters,
            gradients,
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def keep(self, networks: Int[Tensor, "b"]) -> None:
        """Drop the state of all networks but these."""
        self.means, self.squares = ([m[networks] for m in state] for state in (self.means, self.squares))


class _BestWeights:
    """Weights of the best epoch of every network, including networks that were dropped.

    Attributes:
        networks: index of the networks that are still trained.
        waited: epochs since each of them improved.
        error: best validation loss of every network.
    """

    def __init__(self, model: BatchedMLP, validation: InputsAndTargets, loss: Loss) -> None:
        self.model = model
        self.validation = validation
        self.loss = loss
        self.networks = torch.arange(len(model.dimension), device=model.dimension.device)
        self.waited = torch.zeros_like(self.networks)
        self.parameters = [p.detach().clone() for p in model.parameters()]
        self.problem, self.dimension = model.problem, model.dimension
        self.error = self._validation_loss()

    @torch.no_grad()
    def _validation_loss(self) -> Tensor:
        count, device = self.validation.inputs.shape[1], self.model.dimension.device
        total = torch.zeros(len(self.model.dimension), device=device)
        size = _BLOCK_ON_CPU if device.type == "cpu" else _BLOCK
        for start in range(0, count, size):
            inputs, targets = self.validation.block(slice(start, start + size), self.model)
            for networks, outputs in outputs_by_part(self.model, inputs):
                total[networks] += self.loss(outputs, targets[networks]).sum(1)
        return total / count

    @torch.no_grad()
    def update(self) -> Tensor:
        """Save the weights of networks that improved; return the epochs since each one improved."""
        error = self._validation_loss()
        improved = error < self.error[self.networks]
        self.waited = torch.where(improved, 0, self.waited + 1)
        better = self.networks[improved]
        self.error[better] = error[improved]
        for saved, current in zip(self.parameters, self.model.parameters(), strict=True):
            saved[better] = current.detach()[improved]
        return self.waited

    @torch.no_grad()
    def restore(self) -> None:
        """Load the best weights into the model, including networks that were dropped."""
        self.model.problem, self.model.dimension = self.problem, self.dimension
        for current, saved in zip(self.model.parameters(), self.parameters, strict=True):
            current.data = saved
