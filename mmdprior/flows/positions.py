"""Bijections of the channels of spatial codes, the same at every position."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection

__all__ = ["PerPosition", "position_rows"]


class PerPosition(Bijection):
    """The same bijection at every position of spatial codes, such as those of a latent diffusion model.

    Channels become independent of one another at a position. Neighbouring positions stay dependent.

    Args:
        base: bijection of the c channels.

    Example:
        >>> import torch
        >>> from mmdprior.flows import PerPosition, Permutation
        >>> swap = PerPosition(Permutation([1, 0]))
        >>> codes = torch.randn(5, 2, 4, 4)
        >>> bool((swap(codes) == codes.flip(1)).all())
        True
    """

    def __init__(self, base: Bijection) -> None:
        super().__init__(base.dim)
        self.base = base

    def forward(self, h: Float[Tensor, "n c *positions"]) -> Float[Tensor, "n c *positions"]:
        """Return the channels of every position, mapped."""
        return _unflatten(self.base(position_rows(h)), h)

    def forward_and_log_det(
        self, h: Float[Tensor, "n c *positions"]
    ) -> tuple[Float[Tensor, "n c *positions"], Float[Tensor, "n"]]:
        """Return the mapped channels, and the sum of the log-determinants over positions."""
        z, log_det = self.base.forward_and_log_det(position_rows(h))
        return _unflatten(z, h), log_det.reshape(len(h), -1).sum(1)

    def inverse(self, z: Float[Tensor, "n c *positions"]) -> Float[Tensor, "n c *positions"]:
        """Return the channels of every position, mapped back."""
        return _unflatten(self.base.inverse(position_rows(z)), z)

    def spec(self) -> dict[str, Any]:
        """Return the class name and the base."""
        return {"name": "PerPosition", "base": self.base.spec()}


def position_rows(codes: Float[Tensor, "n c *positions"]) -> Float[Tensor, "rows c"]:
    """Return one row of channels per sample and position.

    Raises:
        InputError: codes have fewer than two axes.
    """
    if codes.ndim < 2:
        raise InputError(f"codes: shape {tuple(codes.shape)} received; give (n, channels, height, width)")
    return codes.movedim(1, -1).reshape(-1, codes.shape[1])


def _unflatten(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows of channels as codes of the shape of ``like``."""
    return rows.reshape(len(like), *like.shape[2:], like.shape[1]).movedim(-1, 1)
