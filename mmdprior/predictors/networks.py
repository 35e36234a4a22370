"""Many small networks under batched products, one for every dimension of every problem."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchedMLP"]

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
