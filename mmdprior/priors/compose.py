"""Priors made from priors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["Product"]


class Product(Prior):
    """Independent blocks side by side.

    Args:
        blocks: priors; by default the dimensions of the product are those of the blocks, one after
            another.
        dims: for each block the dimensions of the product that it takes, in its own order.

    Raises:
        InputError: no blocks, or dims that are not one list a block, of its length, that together take
            every dimension once.
    """

    def __init__(self, blocks: Sequence[Prior], dims: Sequence[Sequence[int]] | None = None) -> None:
        if not blocks:
            raise InputError("blocks: an empty list received; give at least one prior")
        super().__init__(sum(block.dim for block in blocks))
        order = range(self.dim) if dims is None else _order(dims, [block.dim for block in blocks])
        self.blocks = nn.ModuleList(blocks)
        self._order: list[int] | None = None if list(order) == list(range(self.dim)) else list(order)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points, block after block from one generator."""
        return self._placed(torch.cat([block.sample(n, generator) for block in self.parts()], dim=1))

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z: the sum over blocks."""
        ordered = z if self._order is None else z[:, self._order]
        parts = ordered.split([block.dim for block in self.parts()], dim=1)
        return torch.stack(
            [block.log_prob(part) for block, part in zip(self.parts(), parts, strict=True)]
        ).sum(0)

    def moments(self) -> Moments:
        """Mean and covariance, zero between blocks."""
        moments = [block.moments() for block in self.parts()]
        mean = torch.cat([m.mean for m in moments])
        covariance = torch.block_diag(*[m.covariance for m in moments])
        return Moments(self._placed(mean), self._placed(self._placed(covariance).T).T)

    @property
    def independent(self) -> bool:
        """Whether the dimensions within every block are independent."""
        return all(block.independent for block in self.parts())

    def marginals(self) -> list[Marginal]:
        """Return the blocks' marginals, each at its dimension."""
        found = [marginal for block in self.parts() for marginal in block.marginals()]
        return [found[i] for i in self._places()]

    def parts(self) -> list[Prior]:
        """Return the blocks."""
        return [block for block in self.blocks if isinstance(block, Prior)]

    def placed(self) -> list[tuple[list[int], Prior]]:
        """Return each block with the dimensions that it occupies."""
        order = list(range(self.dim) if self._order is None else self._order)
        found = []
        for block in self.parts():
            found.append((order[: block.dim], block))
            order = order[block.dim :]
        return found

    def _placed(self, values: Tensor) -> Tensor:
        """Move the last axis from the order of the blocks to that of the product."""
        return values if self._order is None else values[..., self._places()]

    def _places(self) -> list[int]:
        """Return, for each dimension, where it stands in the order of the blocks."""
        order = range(self.dim) if self._order is None else self._order
        return sorted(range(self.dim), key=order.__getitem__)


def _order(dims: Sequence[Sequence[int]], widths: Sequence[int]) -> list[int]:
    """Return the dimensions in the order of the blocks, checked to be all of them once."""
    if len(dims) != len(widths):
        raise InputError(f"dims: {len(dims)} lists received; give one for each of {len(widths)} blocks")
    owner: dict[int, int] = {}
    total = sum(widths)
    for block, (taken, width) in enumerate(zip(dims, widths, strict=True)):
        for dim in taken:
            if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < total:
                raise InputError(
                    f"dims: {dim!r} received for block {block}; dimensions are 0 to {total - 1}, and "
                    f"{_missing(dims, total)}"
                )
            if dim in owner:
                raise InputError(
                    f"dims: dimension {dim} is taken by blocks {owner[dim]} and {block}; give it to one"
                )
            owner[dim] = block
        if len(taken) != width:
            raise InputError(
                f"dims: {len(taken)} dimensions received for block {block}, which has {width}; "
                f"{_missing(dims, total)}"
            )
    return [dim for taken in dims for dim in taken]


def _missing(dims: Sequence[Sequence[int]], total: int) -> str:
    """Say which dimensions no block takes."""
    gap = sorted(set(range(total)) - {dim for taken in dims for dim in taken})
    if not gap:
        return "no other is left to take"
    return f"no block takes dimension {', '.join(map(str, gap))}"
