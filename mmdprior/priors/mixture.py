"""Mixtures of Gaussians, and layouts of their means."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.arguments import number_table, positive_int, positive_number, to_tensor
from mmdprior.priors.marginals import MixtureMarginal, NormalMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior

__all__ = ["GaussianMixture", "probabilities"]

_MAX_MEANS = 4096
"""Most means of a layout. The density of n codes forms an (n, means, d) tensor."""


class GaussianMixture(Prior):
    """Mixture of k Gaussians with diagonal covariances.

    ``ring``, ``grid``, ``simplex`` and ``hypercube`` place the means in a regular layout.

    Args:
        means: component means, (k, d). They set the number of dimensions.
        scale: standard deviations, one number, one per component (k,), or one per component and dimension
            (k, d).
        weights: probabilities of the components, (k,); equal by default.

    Raises:
        InputError: the means are not a (k, d) table, a scale is not positive, or weights are negative or do
            not sum to one.

    Example:
        >>> from mmdprior.priors import GaussianMixture
        >>> prior = GaussianMixture([[-2.0, 0.0], [2.0, 0.0]], scale=0.5, weights=[0.25, 0.75])
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.moments().mean.tolist()
        [1.0, 0.0]
        >>> weights, means, scales = GaussianMixture.ring(k=6).components()
        >>> means.shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        means: Tensor | Sequence[Sequence[float]],
        scale: float | Sequence[float] | Sequence[Sequence[float]] | Tensor = 1.0,
        weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        table = number_table("means", means, "k rows of d finite numbers")
        k, dim = table.shape
        super().__init__(dim)
        self.register_buffer("means", table)
        self.register_buffer("scales", self._scales(scale, k))
        self.register_buffer("weights", probabilities(weights, k))
        self.means: Tensor
        self.scales: Tensor
        self.weights: Tensor

    @classmethod
    def ring(cls, k: int = 8, radius: float = 2.0, scale: float = 0.3, dim: int = 2) -> "GaussianMixture":
        """Return a mixture with k means on a circle in dimensions 0 and 1, and zero in the others.

        Args:
            k: number of components.
            radius: radius of the circle.
            scale: standard deviation of every component in every dimension.
            dim: number of dimensions d, at least 2.

        Raises:
            InputError: dim is below 2, or an argument is not positive.
        """
        if positive_int("dim", dim) < 2:
            raise InputError(f"dim: {dim} received; a ring needs at least 2")
        angles = 2 * math.pi * torch.arange(positive_int("k", k), dtype=torch.float64) / k
        means = torch.zeros(k, dim, dtype=torch.float64)
        means[:, 0], means[:, 1] = angles.cos(), angles.sin()
        return cls(positive_number("radius", radius) * means, scale)

    @classmethod
    def grid(
        cls, levels: int = 3, spacing: float = 2.0, scale: float = 0.3, dim: int = 2
    ) -> "GaussianMixture":
        """Return a mixture with levels^d means on a cubic grid around the origin.

        Args:
            levels: means per side.
            spacing: distance between neighbours.
            scale: standard deviation of every component.
            dim: number of dimensions d.

        Raises:
            InputError: the grid has more than 4,096 means, or an argument is not positive.
        """
        if positive_int("levels", levels) ** positive_int("dim", dim) > _MAX_MEANS:
            raise InputError(
                f"dim: {dim} received, which makes {levels}^{dim} means; at most {_MAX_MEANS} are allowed, "
                "so lower levels or dim, or use the prior Grid"
            )
        side = positive_number("spacing", spacing) * (torch.arange(levels) - (levels - 1) / 2)
        return cls(torch.cartesian_prod(*[side] * dim).reshape(-1, dim), scale)

    @classmethod
    def simplex(cls, dim: int, radius: float = 2.0, scale: float = 0.3) -> "GaussianMixture":
        """Return a mixture with d + 1 means on the vertices of a regular simplex around the origin.

        Args:
            dim: number of dimensions d.
            radius: distance of every mean from the origin.
            scale: standard deviation of every component.

        Raises:
            InputError: an argument is not positive.
        """
        rows = torch.arange(1, positive_int("dim", dim) + 1, dtype=torch.float64)[:, None]
        columns = torch.arange(dim + 1, dtype=torch.float64)
        # Helmert matrix: row k is k ones followed by -k. Its normalised rows are an orthonormal basis of the
        # vectors in R^(d+1) that sum to zero, so its columns are the vertices of a regular simplex in R^d.
        helmert = torch.where(columns < rows, 1.0, torch.where(columns == rows, -rows, 0.0))
        vertices = (helmert / (rows * (rows + 1)).sqrt()).T * math.sqrt((dim + 1) / dim)
        return cls(positive_number("radius", radius) * vertices, scale)

    @classmethod
    def hypercube(cls, dim: int, half_side: float = 1.0, scale: float = 0.3) -> "GaussianMixture":
        """Return a mixture with 2^d means on the corners {-half_side, half_side}^d.

        Args:
            dim: number of dimensions d, at most 12.
            half_side: half the side length of the cube.
            scale: standard deviation of every component.

        Raises:
            InputError: dim is above 12, or an argument is not positive.
        """
        if positive_int("dim", dim) > 12:
            raise InputError(
                f"dim: {dim} received, which makes 2^{dim} means; give at most 12, or use a product of "
                "two-component mixtures"
            )
        return cls.grid(2, 2 * positive_number("half_side", half_side), scale, dim)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points: for each a component by its weight, then a point of that component."""
        # Inverse cdf of the weights. Without the last edge, 1 up to rounding, no index exceeds k - 1.
        edges = self.weights.cumsum(0)[:-1]
        component = torch.searchsorted(edges, self._uniform((n,), generator), right=True)
        return self.means[component] + self.scales[component] * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        means, scales, weights = self.means.to(z), self.scales.to(z), self.weights.to(z)
        standardised = (z[:, None] - means) / scales
        log_norm = scales.log().sum(1) + 0.5 * self.dim * math.log(2 * math.pi)
        log_components = -0.5 * standardised.square().sum(2) - log_norm
        return torch.logsumexp(log_components + weights.log(), dim=1)

    def moments(self) -> Moments:
        """Return mean and covariance; the covariance is that within plus that between components."""
        weights = self.weights[:, None]
        mean = (weights * self.means).sum(0)
        offsets = self.means - mean
        within = torch.diag((weights * self.scales.square()).sum(0))
        return Moments(mean, within + full_matmul(offsets.T, weights * offsets))

    @property
    def independent(self) -> bool:
        """Whether there is only one dimension or only one component."""
        return self.dim == 1 or len(self.weights) == 1

    def marginals(self) -> list[Marginal]:
        """Return the mixture of the components' normal marginals for each dimension."""
        weights = self.weights.tolist()
        columns = zip(self.means.T.tolist(), self.scales.T.tolist(), strict=True)
        return [
            MixtureMarginal(weights, [NormalMarginal(*part) for part in zip(means, scales, strict=True)])
            for means, scales in columns
        ]

    def components(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k d"], Float[Tensor, "k d"]]:
        """Return weights (k,), means (k, d) and standard deviations (k, d)."""
        return self.weights, self.means, self.scales

    def _scales(self, scale: object, k: int) -> Tensor:
        """Return standard deviations as a (k, d) tensor."""
        scales = to_tensor("scale", scale)
        if scales.ndim == 1:
            scales = scales[:, None]
        if scales.ndim > 2 or (scales.ndim == 2 and scales.shape not in {(k, 1), (k, self.dim)}):
            raise InputError(
                f"scale: shape {tuple(scales.shape)} received; give one number, {k} (one per component), "
                f"or {k} x {self.dim}"
            )
        if not bool((torch.isfinite(scales) & (scales > 0)).all()):
            raise InputError(f"scale: {scale} received; every entry must be positive")
        return scales.expand(k, self.dim).clone()


def probabilities(weights: object, k: int) -> Tensor:
    """Return k probabilities that sum to one, equal by default.

    Args:
        weights: the probabilities; None for equal ones.
        k: number of probabilities.

    Raises:
        InputError: another number of weights, negative ones, or another sum.
    """
    if weights is None:
        return torch.full((k,), 1.0 / k)
    probabilities = to_tensor("weights", weights)
    total = float(probabilities.sum())
    valid = probabilities.shape == (k,) and bool((probabilities >= 0).all())
    if not valid or not math.isclose(total, 1.0, abs_tol=1e-5):
        raise InputError(
            f"weights: {weights} received (sum {total:g}); give {k} non-negative numbers that sum to 1"
        )
    return probabilities / total
