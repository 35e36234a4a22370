"""Finite mixtures."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.marginals import MixtureMarginal, NormalMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior, number, numbers, positive_int

__all__ = ["GaussianMixture"]

_LARGEST = 4096
"""Means of a layout."""


class GaussianMixture(Prior):
    """Mixture of k Gaussians with diagonal covariances.

    Args:
        means: (k, d) component means, a tensor or nested sequence; fixes the dimension.
        scale: standard deviations: one number, one a component (k,), or one a component and
            dimension (k, d).
        weights: (k,) probabilities, equal by default.

    Raises:
        InputError: means that are no k x d table, a non-positive scale, or weights that are negative
            or do not sum to one.
    """

    def __init__(
        self,
        means: Tensor | Sequence[Sequence[float]],
        scale: float | Sequence[float] | Sequence[Sequence[float]] | Tensor = 1.0,
        weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        table = _table(means)
        super().__init__(table.shape[1])
        k = table.shape[0]
        self.register_buffer("means", table)
        self.register_buffer("scales", self._scales(scale, k))
        self.register_buffer("weights", _probabilities(weights, k))
        self.means: Tensor
        self.scales: Tensor
        self.weights: Tensor

    @classmethod
    def ring(cls, k: int = 8, radius: float = 2.0, scale: float = 0.3, dim: int = 2) -> "GaussianMixture":
        """Place k means evenly on a circle in the first two dimensions; the others are N(0, scale^2).

        Args:
            k: components.
            radius: of the circle.
            scale: standard deviation of every component.
            dim: number of dimensions d, at least 2.

        Raises:
            InputError: fewer than 2 dimensions, or a non-positive argument.
        """
        if positive_int("dim", dim) < 2:
            raise InputError(f"dim: {dim} received; a ring needs at least 2")
        angles = 2 * math.pi * torch.arange(positive_int("k", k), dtype=torch.float64) / k
        means = torch.zeros(k, dim, dtype=torch.float64)
        means[:, 0], means[:, 1] = angles.cos(), angles.sin()
        return cls(number("radius", radius) * means, scale)

    @classmethod
    def grid(
        cls, levels: int = 3, spacing: float = 2.0, scale: float = 0.3, dim: int = 2
    ) -> "GaussianMixture":
        """Place levels^d means on a cubic grid around the origin.

        Args:
            levels: means per side.
            spacing: distance between neighbours.
            scale: standard deviation of every component.
            dim: number of dimensions d.

        Raises:
            InputError: more than 4,096 means, or a non-positive argument.
        """
        if positive_int("levels", levels) ** positive_int("dim", dim) > _LARGEST:
            raise InputError(
                f"dim: {dim} received, which makes {levels}^{dim} means; at most {_LARGEST} are allowed, "
                "so lower levels or dim, or use the prior Grid"
            )
        side = number("spacing", spacing) * (torch.arange(levels) - (levels - 1) / 2)
        return cls(torch.cartesian_prod(*[side] * dim).reshape(-1, dim), scale)

    @classmethod
    def simplex(cls, dim: int, radius: float = 2.0, scale: float = 0.3) -> "GaussianMixture":
        """Place d + 1 means on the vertices of a regular simplex around the origin.

        Args:
            dim: number of dimensions d.
            radius: distance of every mean from the origin.
            scale: standard deviation of every component.

        Raises:
            InputError: a non-positive argument.
        """
        rows = torch.arange(1, positive_int("dim", dim) + 1, dtype=torch.float64)[:, None]
        columns = torch.arange(dim + 1, dtype=torch.float64)
        # Helmert's basis of the vectors that sum to zero: row k has k ones and then -k.
        helmert = torch.where(columns < rows, 1.0, torch.where(columns == rows, -rows, 0.0))
        vertices = (helmert / (rows * (rows + 1)).sqrt()).T * math.sqrt((dim + 1) / dim)
        return cls(number("radius", radius) * vertices, scale)

    @classmethod
    def hypercube(cls, dim: int, half_side: float = 1.0, scale: float = 0.3) -> "GaussianMixture":
        """Place 2^d means on the corners {-half_side, half_side}^d.

        Args:
            dim: number of dimensions d, at most 12.
            half_side: of the cube.
            scale: standard deviation of every component.

        Raises:
            InputError: more than 12 dimensions, or a non-positive argument.
        """
        if positive_int("dim", dim) > 12:
            raise InputError(
                f"dim: {dim} received, which makes 2^{dim} means; give at most 12, or use a product of "
                "two-component mixtures"
            )
        return cls.grid(2, 2 * number("half_side", half_side), scale, dim)

    def _scales(self, scale: object, k: int) -> Tensor:
        scales = numbers("scale", scale)
        if scales.ndim == 1:
            scales = scales[:, None]
        if scales.ndim > 2 or (scales.ndim == 2 and scales.shape not in {(k, 1), (k, self.dim)}):
            raise InputError(
                f"scale: shape {tuple(scales.shape)} received; give one number, {k} (one a "
                f"component), or {k} x {self.dim}"
            )
        if not bool((torch.isfinite(scales) & (scales > 0)).all()):
            raise InputError(f"scale: {scale} received; every entry must be positive")
        return scales.expand(k, self.dim).clone()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points: a component by its weight, then a point of that component."""
        edges = self.weights.cumsum(0)[:-1]
        which = torch.searchsorted(edges, self._uniform((n,), generator), right=True)
        return self.means[which] + self.scales[which] * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        means, scales, weights = self.means.to(z), self.scales.to(z), self.weights.to(z)
        standardised = (z[:, None] - means) / scales
        log_norm = scales.log().sum(1) + 0.5 * self.dim * math.log(2 * math.pi)
        log_components = -0.5 * standardised.square().sum(2) - log_norm
        return torch.logsumexp(log_components + weights.log(), dim=1)

    def moments(self) -> Moments:
        """Mean and covariance, within plus between components."""
        weights = self.weights[:, None]
        mean = (weights * self.means).sum(0)
        offsets = self.means - mean
        within = torch.diag((weights * self.scales.square()).sum(0))
        return Moments(mean, within + full_matmul(offsets.T, weights * offsets))

    @property
    def independent(self) -> bool:
        """Whether there is one dimension or one component."""
        return self.dim == 1 or len(self.weights) == 1

    def marginals(self) -> list[Marginal]:
        """Return the mixtures of the components' normal marginals."""
        weights = self.weights.tolist()
        columns = zip(self.means.T.tolist(), self.scales.T.tolist(), strict=True)
        return [
            MixtureMarginal(weights, [NormalMarginal(*p) for p in zip(means, scales, strict=True)])
            for means, scales in columns
        ]

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (k,), means (k, d) and standard deviations (k, d)."""
        return self.weights, self.means, self.scales


def _table(means: object) -> Tensor:
    table = numbers("means", means)
    if table.ndim != 2 or 0 in table.shape or not bool(torch.isfinite(table).all()):
        raise InputError(f"means: shape {tuple(table.shape)} received; give k rows of d finite numbers")
    return table.clone()


def _probabilities(weights: object, k: int) -> Tensor:
    if weights is None:
        return torch.full((k,), 1.0 / k)
    probabilities = numbers("weights", weights)
    total = float(probabilities.sum())
    valid = probabilities.shape == (k,) and bool((probabilities >= 0).all())
    if not valid or not math.isclose(total, 1.0, abs_tol=1e-5):
        raise InputError(
            f"weights: {weights} received (sum {total:g}); give {k} non-negative numbers that sum to 1"
        )
    return probabilities / total
