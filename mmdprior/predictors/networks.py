"""Small networks for every dimension of every problem, evaluated and trained by batched matrix products."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from mmdprior.errors import InputError, check_integer

__all__ = ["BatchedMLP", "InputsAndTargets", "NetworkTrainer", "check_widths"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""(a, n, outputs), (a, n) targets -> (a, n) losses."""

_ROWS = 4096
"""Rows evaluated at a time, to bound memory."""
_MIN_STOPPED_SHARE = 0.15
"""Share of stopped networks from which removing them saves more than copying the others costs."""


def check_widths(hidden: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of hidden layers.

    Raises:
        InputError: ``hidden`` is not a sequence of integers of at least 1, or is empty.
    """
    if not isinstance(hidden, Sequence) or isinstance(hidden, str) or len(hidden) == 0:
        raise InputError(f"hidden: {hidden} received; give a list of positive widths, such as [64, 64]")
    return tuple(check_integer("hidden", width) for width in hidden)


class BatchedMLP(nn.Module):
    """p d networks of equal shape; network (q, i) reads the codes of problem q without dimension i.

    All networks are one batch of matrix products. The input weight of dimension i is masked, so that a
    network cannot see its own target. The last layer starts at zero: an untrained network returns its bias.

    Args:
        dim: number d of inputs, and of networks per problem.
        hidden: widths of the hidden layers.
        generators: one random stream per problem, on the CPU, for the initial weights.
        bias: (p, d, outputs) initial bias of the last layer.
        groups: number of inputs per dimension; input k d + i is the k-th of dimension i.
        activation: nonlinearity of the hidden layers, ``relu`` or ``selu``.
    """

    activation: str = "relu"  # of networks that were pickled before there was a choice

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        generators: Sequence[torch.Generator],
        bias: Float[Tensor, "p d outputs"],
        groups: int = 1,
        activation: Literal["relu", "selu"] = "relu",
    ) -> None:
        super().__init__()
        self.groups = groups
        self.activation = activation
        widths = [groups * dim, *hidden, bias.shape[2]]
        layers = [[_he_uniform(dim, *pair, g) for pair in pairwise(widths)] for g in generators]
        self.weights = nn.ParameterList(torch.cat(layer) for layer in zip(*layers, strict=True))
        self.biases = nn.ParameterList(w.new_zeros(w.shape[0], 1, w.shape[2]) for w in self.weights)
        nn.init.zeros_(self.weights[-1])
        self.biases[-1] = nn.Parameter(bias.flatten(0, 1)[:, None].float().clone())
        networks = torch.arange(len(generators) * dim)
        # Problem and target dimension of every network.
        self.register_buffer("problem", networks // dim, persistent=False)
        self.register_buffer("dimension", networks % dim, persistent=False)
        self.problem: Tensor
        self.dimension: Tensor

    def forward(self, z: Float[Tensor, "p n inputs"]) -> Float[Tensor, "a n outputs"]:
        """Return the outputs of every network on the rows of its problem."""
        hidden = z.expand(len(self.dimension), -1, -1) if len(z) == 1 else z[self.problem]
        own = functional.one_hot(self.dimension, z.shape[2] // self.groups).repeat(1, self.groups)
        mask = 1 - own.to(z)[:, :, None]
        weights = [self.weights[0] * mask, *list(self.weights)[1:]]
        activation = torch.relu_ if self.activation == "relu" else torch.selu_
        for layer, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, activation(hidden) if layer else hidden, weight)
        return hidden

    def predict_each(self, z: Float[Tensor, "n d"], *, trained: bool) -> Float[Tensor, "n d"]:
        """Return what the network of each dimension, of one problem and one output, predicts of it.

        Args:
            z: codes.
            trained: whether the weights receive a gradient; the codes always do.
        """
        parameters = {name: p if trained else p.detach() for name, p in self.named_parameters()}
        rows = z[None].to(self.weights[0].dtype)
        with torch.autocast(z.device.type, enabled=False):
            return functional_call(self, parameters, (rows,)).squeeze(2).T.to(z.dtype)

    @torch.no_grad()
    def predict(self, z: Float[Tensor, "p n inputs"]) -> Float[Tensor, "p n d outputs"]:
        """Return the outputs of all networks, in blocks of rows; none may have been dropped by `keep`."""
        blocks = [self(part).unflatten(0, (len(z), -1)) for part in z.float().split(_ROWS, dim=1)]
        return torch.cat(blocks, dim=2).transpose(1, 2)

    def keep(self, networks: Int[Tensor, "b"]) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Drop all networks but these; return every old parameter with the new one."""
        replaced = []
        for parameters in (self.weights, self.biases):
            for index, old in enumerate(list(parameters)):
                parameters[index] = nn.Parameter(old.detach()[networks])
                replaced.append((old, parameters[index]))
        self.problem, self.dimension = self.problem[networks], self.dimension[networks]
        return replaced


def _he_uniform(dim: int, before: int, after: int, generator: torch.Generator) -> Tensor:
    """Return (dim, before, after) weights from He's uniform initialisation."""
    draws = torch.rand(dim, before, after, generator=generator, dtype=torch.float32)
    return (2 * draws - 1) * math.sqrt(6 / before)


@dataclass(frozen=True)
class InputsAndTargets:
    """Rows to train or validate networks on.

    Attributes:
        inputs: (p, n, groups d) inputs of the networks.
        targets: (p, n, d) targets: entry i is that of network i of a problem.
    """

    inputs: Shaped[Tensor, "p n inputs"]
    targets: Shaped[Tensor, "p n d"]

    def take(self, rows: Tensor, model: BatchedMLP) -> tuple[Tensor, Tensor]:
        """Return the inputs (p, b, groups d) of rows (p, b), and the targets (a, b) of the networks."""
        problems = torch.arange(len(rows), device=rows.device)[:, None]
        return self.inputs[problems, rows], self.targets[
            model.problem[:, None], rows[model.problem], model.dimension[:, None]
        ]


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
            optimizer = torch.optim.AdamW(
                model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
            )
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
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
    ) -> None:
        count, device = train.inputs.shape[1], train.inputs.device
        order = torch.stack([torch.randperm(count, generator=g) for g in generators]).to(device)
        for rows in order.split(self.batch_size, dim=1):
            inputs, targets = train.take(rows, model)
            # The sum over networks gives each of them its own gradient, as if it were trained separately.
            total = loss(model(inputs), targets).mean(1).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
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
    model: BatchedMLP, optimizer: torch.optim.Optimizer, best: "_BestWeights", running: Tensor
) -> None:
    """Drop networks that have stopped, to save compute, together with their optimizer state."""
    for old, new in model.keep(running):
        state = optimizer.state.pop(old)
        optimizer.state[new] = {
            name: value[running] if value.ndim else value for name, value in state.items()
        }
    optimizer.param_groups[0]["params"] = list(model.parameters())
    best.networks, best.waited = best.networks[running], best.waited[running]


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
        count = self.validation.inputs.shape[1]
        total = torch.zeros(len(self.model.dimension), device=self.model.dimension.device)
        for rows in torch.arange(count, device=total.device).split(_ROWS):
            block = rows.expand(len(self.validation.inputs), -1)
            inputs, targets = self.validation.take(block, self.model)
            total += self.loss(self.model(inputs), targets).sum(1)
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
