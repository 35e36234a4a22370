"""The RBF of one-dimensional projections."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.distance import decay, squared_distance
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.quadrature import projection_nodes
from mmdprior.priors.arguments import positive_int, positive_number
from mmdprior.seeding import generator_options, stream
from mmdprior.tracing import constant_in_graphs

__all__ = ["Sliced", "sphere_nodes", "unit_directions"]


def unit_directions(
    dim: int, count: int, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "{dim} {count}"]:
    """Draw directions from the uniform distribution on the unit sphere.

    Args:
        dim: number of dimensions d.
        count: number of directions.
        generator: source of the draws; None for torch's global generator.
        device: device to draw on, that of the generator.

    Example:
        >>> directions = unit_directions(3, 5, None, torch.device("cpu"))
        >>> torch.allclose(directions.norm(dim=0), torch.ones(5))
        True
    """
    draw = torch.randn(dim, count, **generator_options(generator), device=device)
    return draw / draw.norm(dim=0).clamp(min=torch.finfo(draw.dtype).tiny)


class Sliced(Kernel):
    """Mean over unit directions u of the RBF of the projected codes, exp(-(u'(x - y))^2 / (2 l^2)).

    For one direction the MMD is, up to a constant, the statistic of SIGReg (LeJEPA, arXiv 2511.08544). It is
    closely related to the Cramer-Wold autoencoder (arXiv 1805.09235) and to the sliced Wasserstein distance.

    Args:
        lengthscale: l, in units of the projected codes.
        directions: number of random directions, redrawn for each estimate. None, the default, averages
            over the whole sphere by quadrature: deterministic, and as expensive as a few RBFs.

    Raises:
        InputError: a length-scale or a number of directions that is not positive.

    Example:
        >>> kernel = Sliced()
        >>> kernel(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])).round(decimals=4)
        tensor([[0.8556]])
    """

    def __init__(self, lengthscale: float = 1.0, directions: int | None = None) -> None:
        super().__init__()
        if directions is not None:
            positive_int("directions", directions)
        self.lengthscale = positive_number("lengthscale", lengthscale)
        self.directions = directions
        self._drawn: Tensor | None = None

    @property
    def adaptive(self) -> bool:
        """Whether directions are still to be drawn."""
        return self.directions is not None and self._drawn is None

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Return the kernel with directions drawn for one estimate; itself over the whole sphere."""
        if not self.adaptive:
            return self
        drawn = self._shallow_copy()
        dtype = torch.promote_types(x.dtype, torch.float32)
        device = x.device if generator is None else generator.device
        drawn._drawn = self._draw(x.shape[1], generator, device).to(x.device, dtype)
        return drawn

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute the mean over the directions; without `adapt`, over directions from a fixed stream."""
        dim = x.shape[1]
        if self.directions is None:
            return self._mean_over_sphere(squared_distance(x, y), dim)
        drawn = self._drawn
        if drawn is None:
            drawn = self._draw(dim, stream(0, "directions"), torch.device("cpu"))
        directions = drawn.to(x)
        total = x.new_zeros(x.shape[0], y.shape[0])
        for a, b in zip((x @ directions).T, (y @ directions).T, strict=True):
            total = total + decay((a[:, None] - b).square(), 0.5 / self.lengthscale**2)
        return total / directions.shape[1]

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return RBFs with l_j^2 = l^2 / u_j^2, u one coordinate of a uniform direction; None if drawn."""
        if self.directions is not None:
            return None
        # u'(x - y) = |x - y| u_1 in distribution, so the mean over directions is one over u_1.
        squared, weights = projection_nodes(dim)
        return weights, self.lengthscale**2 / squared

    def _mean_over_sphere(self, squared: Tensor, dim: int) -> Tensor:
        """Compute sum_j w_j exp(-u_j^2 r^2 / (2 l^2))."""
        total = torch.zeros_like(squared)
        for node, weight in sphere_nodes(int(dim)):
            total = total + weight * decay(squared, 0.5 * node / self.lengthscale**2)
        return total

    def _draw(self, dim: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return unit_directions(dim, self.directions or 1, generator, device)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"lengthscale={self.lengthscale}, directions={self.directions or 'all'}"


@lru_cache(maxsize=64)
@constant_in_graphs
def sphere_nodes(dim: int, count: int = 32) -> list[tuple[float, float]]:
    """Return the `projection_nodes` as pairs (u^2, weight) of numbers, which need no copy to a device."""
    squared, weights = projection_nodes(dim, count)
    return list(zip(squared.tolist(), weights.tolist(), strict=True))
