"""`World`: the rank of this process and the collective operations of a run; one process by default."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from mmdprior.errors import InputError

__all__ = ["World"]

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Rank of this process among the processes that train together.

    Every process holds the whole model and computes its own rows of each global batch. Random numbers are
    drawn for the global batch with the same seed on every rank, then sliced. With one process every
    operation returns its input and nothing is communicated.

    All methods except `from_environment`, `main` and `rows` are collective: every rank must call them, in
    the same order. A rank that skips one leaves the others waiting in it.

    Attributes:
        rank: global index of this process, from 0.
        size: number of processes.
        local_rank: index of this process on its machine, from 0.

    Example:
        >>> import torch
        >>> from mmdprior.world import World
        >>> World().gather(torch.ones(3, 2)).shape
        torch.Size([3, 2])
        >>> World(rank=1, size=4).rows(256)
        slice(64, 128, None)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @staticmethod
    def from_environment() -> "World":
        """Return the world that torchrun's environment variables describe; nothing is communicated."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1 or "RANK" not in os.environ:
            return World()
        return World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """Return this rank's rows of a global batch of n, a multiple of ``size``."""
        share = n // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all ranks, concatenated in rank order; differentiable.

        Backward sums over ranks the gradients with respect to this rank's rows. A loss that every rank
        computes from gathered rows therefore gets its exact gradient once DDP has averaged the gradients
        of the weights.

        Args:
            x: tensor of the same shape on every rank.
        """
        if self.size == 1:
            return x
        if x.numel() == 0:
            # The shape is the same on all ranks, so all of them skip the communication together.
            return x.new_empty(len(x) * self.size, *x.shape[1:])
        return _Gather.apply(x, self)

    def gather_ragged(self, x: Tensor) -> Tensor:
        """Return the rows of all ranks in rank order, for any number of rows per rank; no gradient."""
        if self.size == 1:
            return x
        # all_gather needs one shape on all ranks: exchange the lengths first, then pad to the longest.
        lengths = self.gather(torch.tensor([len(x)])).tolist()
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = self.gather(padded).split(max(lengths))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over ranks of a tensor without gradient."""
        if self.size > 1:
            x = x.contiguous().clone()  # all_reduce works in place
            dist.all_reduce(x)
        return x

    def any(self, flag: bool) -> bool:
        """Return whether any rank sets the flag. The answer is the same on all ranks.

        Ranks must branch on this shared answer, not on their own flag: a rank that leaves a loop earlier
        than the others leaves them waiting in the next collective operation.
        """
        return bool(self.sum(torch.tensor(int(flag)))) if self.size > 1 else flag

    def from_main(self, make: Callable[[], T]) -> T:
        """Call a function on rank 0 only and return its result on every rank.

        Args:
            make: returns a picklable object.

        Raises:
            Exception: anything that ``make`` raises, on every rank.
        """
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.main:
            try:
                box[0] = make()
            except Exception as error:
                # Re-raised on every rank below; otherwise the others hang in the broadcast.
                box[1] = error
        # Every rank blocks here until rank 0 has called make.
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def local_main_first(self, make: Callable[[], T]) -> T:
        """Call a function on every rank, on the first rank of each machine before the others.

        For example, one process per machine downloads a data set and the others open the files.

        Args:
            make: called once per rank.

        Raises:
            Exception: anything that ``make`` raises.
            InputError: ``make`` raised on the first rank of any machine; on the ranks where it did not.
        """
        if self.size == 1:
            return make()
        result: T | None = None
        failure: Exception | None = None
        if self.local_rank == 0:
            try:
                result = make()
            except Exception as error:
                # Raised after the barrier. If it were raised here, the other ranks would hang in it.
                failure = error
        # Barrier: the other ranks block here until the first rank of every machine has called make.
        failed = self.any(failure is not None)
        if failure is not None:
            raise failure
        if failed:
            raise InputError("preparation failed in another process; see its error message")
        return make() if self.local_rank > 0 else result  # type: ignore[return-value]


class _Gather(torch.autograd.Function):
    """Concatenate the rows of all ranks; sum the gradients of all ranks in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: World) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world.size)]
        dist.all_gather(parts, x)
        ctx.world = world
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Every rank's loss depends on every rank's rows. All ranks reach this all_reduce, because all
        # compute the loss from the same gathered rows.
        total = ctx.world.sum(gradient)
        return total[ctx.world.rows(len(total))], None
