"""Priors made from priors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["Product"]


class Product(Prior):
    """Independent blocks side by side, in the order given.

    Args:
        blocks: priors; the dimensions of the product are those of the blocks, one after another.

    Raises:
        InputError: no blocks.
    """

    def __init__(self, blocks: Sequence[Prior]) -> None:
        if not blocks:
            raise InputError("blocks: an empty list received; give at least one prior")
        super().__init__(sum(block.dim for block in blocks))
        self.blocks = nn.ModuleList(blocks)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points, block after block from one generator."""
        return torch.cat([block.sample(n, generator) for block in self._blocks()], dim=1)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z: the sum over blocks."""
        parts = z.split([block.dim for block in self._blocks()], dim=1)
        return torch.stack(
            [block.log_prob(part) for block, part in zip(self._blocks(), parts, strict=True)]
        ).sum(0)

    def moments(self) -> Moments:
        """Mean and block-diagonal covariance."""
        moments = [block.moments() for block in self._blocks()]
        return Moments(
            torch.cat([m.mean for m in moments]), torch.block_diag(*[m.covariance for m in moments])
        )

    @property
    def independent(self) -> bool:
        """Whether the dimensions within every block are independent."""
        return all(block.independent for block in self._blocks())

    def marginals(self) -> list[Marginal]:
        """Return the blocks' marginals, one after another."""
        return [marginal for block in self._blocks() for marginal in block.marginals()]

    def _blocks(self) -> list[Prior]:
        return [block for block in self.blocks if isinstance(block, Prior)]
