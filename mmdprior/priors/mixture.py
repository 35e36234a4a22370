"""Finite mixtures."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.priors.marginals import MixtureMarginal, NormalMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior, numbers

__all__ = ["GaussianMixture"]


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
        mean = self.weights @ self.means
        offsets = self.means - mean
        within = torch.diag(self.weights @ self.scales.square())
        return Moments(mean, within + (offsets.T * self.weights) @ offsets)

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
