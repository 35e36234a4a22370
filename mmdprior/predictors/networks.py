"""Many small networks under batched products, one for every dimension of every problem."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.errors import InputError

__all__ = ["BatchedMLP", "Descent", "Rows"]

_ROWS = 4096


class BatchedMLP(nn.Module):
    """p d networks (d -> hidden -> ... -> outputs); network (q, i) reads problem q and never its input i.

    The last layer starts at zero, so an untrained network gives its bias.

    Args:
        dim: d, both the number of inputs and of networks a problem.
        hidden: widths of the hidden layers.
        generators: one a problem, on the CPU; they seed the start.
        bias: (p, d, outputs) of the last layer at the start.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        generators: Sequence[torch.Generator],
        bias: Float[Tensor, "p d outputs"],
    ) -> None:
        super().__init__()
        widths = [dim, *hidden, bias.shape[2]]
        started = [[_uniform(dim, *pair, g) for pair in _pairs(widths)] for g in generators]
        self.weights = nn.ParameterList(torch.cat(layer) for layer in zip(*started, strict=True))
        self.biases = nn.ParameterList(w.new_zeros(w.shape[0], 1, w.shape[2]) for w in self.weights)
        nn.init.zeros_(self.weights[-1])
        self.biases[-1] = nn.Parameter(bias.flatten(0, 1)[:, None].float().clone())
        networks = torch.arange(len(generators) * dim)
        self.register_buffer("problem", networks // dim, persistent=False)
        self.register_buffer("own", networks % dim, persistent=False)
        self.problem: Tensor
        self.own: Tensor

    def forward(self, z: Float[Tensor, "p n d"]) -> Float[Tensor, "a n outputs"]:
        """Return the outputs of every network on the rows of its problem."""
        hidden = z.expand(len(self.own), -1, -1) if len(z) == 1 else z[self.problem]
        mask = 1 - functional.one_hot(self.own, z.shape[2]).to(z)[:, :, None]
        weights = [self.weights[0] * mask, *list(self.weights)[1:]]
        for layer, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden.relu_() if layer else hidden, weight)
        return hidden

    @torch.no_grad()
    def predict(self, z: Float[Tensor, "p n d"]) -> Float[Tensor, "p n d outputs"]:
        """Return the outputs of all networks, rows in blocks; none may have been dropped by `keep`."""
        blocks = [self(part).unflatten(0, (len(z), -1)) for part in z.float().split(_ROWS, dim=1)]
        return torch.cat(blocks, dim=2).transpose(1, 2)

    def keep(self, networks: Int[Tensor, "b"]) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Drop all networks but these; return each old parameter with the new one."""
        replaced = []
        for parameters in (self.weights, self.biases):
            for index, old in enumerate(list(parameters)):
                parameters[index] = nn.Parameter(old.detach()[networks])
                replaced.append((old, parameters[index]))
        self.problem, self.own = self.problem[networks], self.own[networks]
        return replaced


def _pairs(widths: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(widths))


def _uniform(dim: int, before: int, after: int, generator: torch.Generator) -> Tensor:
    """He's uniform start."""
    start = torch.rand(dim, before, after, generator=generator, dtype=torch.float32)
    return (2 * start - 1) * math.sqrt(6 / before)


Loss = Callable[[Tensor, Tensor], Tensor]
"""(a, n, outputs), (a, n) targets -> (a, n) losses."""

_WORTH_DROPPING = 0.15


@dataclass(frozen=True)
class Rows:
    """Inputs and the target of every dimension.

    Attributes:
        inputs: (p, n, d) codes.
        targets: (p, n, d) what network i of a problem is to say.
    """

    inputs: Shaped[Tensor, "p n d"]
    targets: Shaped[Tensor, "p n d"]

    def take(self, rows: Tensor, model: BatchedMLP) -> tuple[Tensor, Tensor]:
        """Return the inputs (p, b, d) of rows (p, b) and the targets (a, b) of the model's networks."""
        problems = torch.arange(len(rows), device=rows.device)[:, None]
        return self.inputs[problems, rows], self.targets[
            model.problem[:, None], rows[model.problem], model.own[:, None]
        ]


@dataclass(frozen=True)
class Descent:
    """AdamW at a constant rate on the summed loss of all networks.

    After every epoch a network keeps its weights if its validation loss is the best so far, and one that
    has not improved for ``patience`` epochs is done. Epoch 0, the untrained network, counts.

    Attributes:
        epochs: at most.
        patience: epochs a network waits for an improvement.
        batch_size: rows a step.
        learning_rate: of AdamW.
        weight_decay: decoupled, per step and relative to the learning rate.

    Raises:
        InputError: a setting that is not positive, or a negative weight decay.
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name}: {getattr(self, name)} received; give a positive number")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay: {self.weight_decay} received; give a number >= 0")

    def fit(
        self,
        model: BatchedMLP,
        train: Rows,
        validation: Rows,
        loss: Loss,
        generators: Sequence[torch.Generator],
    ) -> None:
        """Train the networks in place; each ends with its best weights.

        Args:
            model: on the device of the rows.
            train: rows to fit on.
            validation: rows to stop by.
            loss: of outputs and targets.
            generators: one a problem, on the CPU; they seed the order of the rows.
        """
        with _training_modes(train.inputs.device.type):
            self._fit(model, train, validation, loss, generators)

    def _fit(
        self,
        model: BatchedMLP,
        train: Rows,
        validation: Rows,
        loss: Loss,
        generators: Sequence[torch.Generator],
    ) -> None:
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
        best = _Best(model, validation, loss)
        count, device = train.inputs.shape[1], train.inputs.device
        for _ in range(self.epochs):
            order = torch.stack([torch.randperm(count, generator=g) for g in generators]).to(device)
            for rows in order.split(self.batch_size, dim=1):
                inputs, targets = train.take(rows, model)
                total = loss(model(inputs), targets).mean(1).sum()
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                optimizer.step()
            waiting = best.update() < self.patience
            left = int(waiting.sum())
            if left == 0:
                break
            if left < (1 - _WORTH_DROPPING) * len(waiting):
                _shrink(model, optimizer, best, waiting.nonzero().squeeze(1))
        best.restore()


@contextmanager
def _training_modes(device_type: str) -> Iterator[None]:
    """Train whatever the caller's modes are: scores are often taken under no_grad or autocast."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
    ):
        yield


def _shrink(model: BatchedMLP, optimizer: torch.optim.Optimizer, best: "_Best", kept: Tensor) -> None:
    """Go on with some networks alone: those that are done would cost as much as before."""
    for old, new in model.keep(kept):
        state = optimizer.state.pop(old)
        optimizer.state[new] = {name: value[kept] if value.ndim else value for name, value in state.items()}
    optimizer.param_groups[0]["params"] = list(model.parameters())
    best.networks, best.waited = best.networks[kept], best.waited[kept]


class _Best:
    """The best weights so far of every network, by validation loss, those already dropped included."""

    def __init__(self, model: BatchedMLP, validation: Rows, loss: Loss) -> None:
        self.model = model
        self.validation = validation
        self.loss = loss
        self.networks = torch.arange(len(model.own), device=model.own.device)
        self.waited = torch.zeros_like(self.networks)
        self.parameters = [p.detach().clone() for p in model.parameters()]
        self.problem, self.own = model.problem, model.own
        self.error = self._errors()

    @torch.no_grad()
    def _errors(self) -> Tensor:
        count = self.validation.inputs.shape[1]
        total = torch.zeros(len(self.model.own), device=self.model.own.device)
        for rows in torch.arange(count, device=total.device).split(_ROWS):
            block = rows.expand(len(self.validation.inputs), -1)
            inputs, targets = self.validation.take(block, self.model)
            total += self.loss(self.model(inputs), targets).sum(1)
        return total / count

    @torch.no_grad()
    def update(self) -> Tensor:
        """Keep what improved; return the epochs that each network has waited."""
        error = self._errors()
        improved = error < self.error[self.networks]
        self.waited = torch.where(improved, 0, self.waited + 1)
        better = self.networks[improved]
        self.error[better] = error[improved]
        for kept, current in zip(self.parameters, self.model.parameters(), strict=True):
            kept[better] = current.detach()[improved]
        return self.waited

    @torch.no_grad()
    def restore(self) -> None:
        """Put all networks back, each with its best weights."""
        self.model.problem, self.model.own = self.problem, self.own
        for current, kept in zip(self.model.parameters(), self.parameters, strict=True):
            current.data = kept
