"""The RBF of one-dimensional projections."""

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.bandwidth import decay, squared_distance
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.quadrature import projection_nodes
from mmdprior.seeding import stream

__all__ = ["Sliced"]


class Sliced(Kernel):
    """Mean over unit directions u of exp(-(u'(x - y))^2 / (2 l^2)).

    Per direction this is, up to a constant, the statistic of SIGReg (LeJEPA, arXiv 2511.08544) and the
    relative of the Cramer-Wold autoencoder (arXiv 1805.09235) and the sliced Wasserstein distance.

    Args:
        lengthscale: l, in units of the projected codes.
        directions: how many random directions, drawn anew for each estimate; None averages over the
            whole sphere by quadrature: no chance, and the cost of a few RBFs.

    Raises:
        InputError: a length-scale or a number of directions that is not positive.
    """

    def __init__(self, lengthscale: float = 1.0, directions: int | None = None) -> None:
        super().__init__()
        if not 0 < lengthscale < math.inf:
            raise InputError(f"lengthscale: {lengthscale} received; give a positive number")
        if directions is not None and directions < 1:
            raise InputError(f"directions: {directions} received; give at least 1, or leave it out")
        self.lengthscale = lengthscale
        self.directions = directions
        self._drawn: Tensor | None = None

    @property
    def adaptive(self) -> bool:
        """Whether directions are drawn."""
        return self.directions is not None and self._drawn is None

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Draw the directions of one estimate."""
        if not self.adaptive:
            return self
        fixed = copy.copy(self)
        fixed._drawn = self._draw(x.shape[1], generator)
        return fixed

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Average over the directions; over a fixed draw of them where none was made by `adapt`."""
        dim = x.shape[1]
        if self.directions is None:
            return self._over_the_sphere(squared_distance(x, y), dim)
        drawn = self._draw(dim, stream(0, "directions")) if self._drawn is None else self._drawn
        directions = drawn.to(x)
        total = x.new_zeros(len(x), len(y))
        for a, b in zip((x @ directions).T, (y @ directions).T, strict=True):
            total = total + decay((a[:, None] - b).square(), 0.5 / self.lengthscale**2)
        return total / directions.shape[1]

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l'^2 = l^2 / u^2, u a coordinate of a uniform direction; None if drawn."""
        if self.directions is not None:
            return None
        squared, weights = projection_nodes(dim)
        return weights, self.lengthscale**2 / squared

    def _over_the_sphere(self, squared: Tensor, dim: int) -> Tensor:
        nodes, weights = projection_nodes(dim)
        total = torch.zeros_like(squared)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            total = total + weight * decay(squared, 0.5 * node / self.lengthscale**2)
        return total

    def _draw(self, dim: int, generator: torch.Generator | None) -> Tensor:
        device = None if generator is None else generator.device
        draw = torch.randn(dim, self.directions or 1, generator=generator, device=device)
        return draw / draw.norm(dim=0).clamp(min=torch.finfo(draw.dtype).tiny)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"lengthscale={self.lengthscale}, directions={self.directions or 'all'}"
