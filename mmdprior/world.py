"""The processes that train together, and what passes between them; one process by default."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["World"]

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place among those of one run.

    Every process holds the whole model and works on its own rows of each batch. Random numbers are drawn for
    the global batch, the same in every process, and sliced.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        local_rank: of this process among those of its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @staticmethod
    def from_environment() -> "World":
        """Return the place that torchrun gives this process, or one alone; nothing is sent."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1 or "RANK" not in os.environ:
            return World()
        return World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """Return this process's rows of a global batch of n, a multiple of ``size``."""
        share = n // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks; all give as many.

        Backward sums the gradients that all processes have for this process's rows. Where the gradients of
        the weights are then averaged over processes, as DDP does, a loss that every process computes from
        gathered rows gets its exact gradient.
        """
        if self.size == 1:
            return x
        if x.numel() == 0:
            return x.new_empty(len(x) * self.size, *x.shape[1:])
        return _Gather.apply(x, self)

    def gather_ragged(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, each giving any number; no gradient."""
        if self.size == 1:
            return x
        lengths = self.gather(torch.tensor([len(x)])).tolist()
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = self.gather(padded).split(max(lengths))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over processes of a tensor without gradient."""
        if self.size > 1:
            x = x.contiguous().clone()
            dist.all_reduce(x)
        return x

    def any(self, flag: bool) -> bool:
        """Log whether the flag is set in any process; the same answer in all of them."""
        return bool(self.sum(torch.tensor(int(flag)))) if self.size > 1 else flag

    def from_main(self, make: Callable[[], T]) -> T:
        """Return in every process what the main one makes; what it raises is raised in all."""
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.main:
            try:
                box[0] = make()
            except Exception as error:  # told to all, who would wait for ever
                box[1] = error
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def local_main_first(self, make: Callable[[], T]) -> T:
        """Let one process a machine make something, such as a download, before the others do."""
        if self.size == 1:
            return make()
        if self.local_rank > 0:
            self.any(False)
        made = make()
        if self.local_rank == 0:
            self.any(False)
        return made


class _Gather(torch.autograd.Function):
    """All processes' rows; the gradients of all processes are summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: World) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world.size)]
        dist.all_gather(parts, x)
        ctx.world = world
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = ctx.world.sum(gradient)
        return total[ctx.world.rows(len(total))], None
