"""Small networks for every dimension of every problem, evaluated by batched matrix products."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from mmdprior.errors import InputError, check_integer

__all__ = ["BatchedMLP", "InputsAndTargets", "check_widths"]

_ROWS = 4096
"""Rows evaluated at a time, to bound memory."""


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
        mask = z.new_ones(len(self.dimension), z.shape[2], 1)
        mask[self.hidden_inputs()] = 0
        weights = [self.weights[0] * mask, *list(self.weights)[1:]]
        for layer, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, self.activate(hidden) if layer else hidden, weight)
        return hidden

    def hidden_inputs(self) -> tuple[Int[Tensor, "a 1"], Int[Tensor, "a groups"]]:
        """Return the networks, and the inputs that each of them must not see: those of its target."""
        dim = self.weights[0].shape[1] // self.groups
        groups = torch.arange(self.groups, device=self.dimension.device)
        networks = torch.arange(len(self.dimension), device=self.dimension.device)
        return networks[:, None], self.dimension[:, None] + dim * groups

    def activate(self, hidden: Tensor) -> Tensor:
        """Apply the activation in place."""
        return torch.relu_(hidden) if self.activation == "relu" else torch.selu_(hidden)

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

    def keep(self, networks: Int[Tensor, "b"]) -> None:
        """Drop all networks but these."""
        for parameters in (self.weights, self.biases):
            for index, old in enumerate(list(parameters)):
                parameters[index] = nn.Parameter(old.detach()[networks])
        self.problem, self.dimension = self.problem[networks], self.dimension[networks]


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
        return self.inputs[problems, rows], _of_networks(self.targets[problems, rows], model)

    def block(self, rows: slice, model: BatchedMLP) -> tuple[Tensor, Tensor]:
        """Return inputs and targets as `take` does, for the same consecutive rows of all problems."""
        return self.inputs[:, rows], _of_networks(self.targets[:, rows], model)


def _of_networks(targets: Shaped[Tensor, "p b d"], model: BatchedMLP) -> Shaped[Tensor, "a b"]:
    by_dimension = targets.transpose(1, 2).flatten(0, 1)
    return by_dimension[model.problem * targets.shape[2] + model.dimension]
