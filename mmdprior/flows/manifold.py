"""Intrinsic dimension of a cloud of points, by its two nearest neighbours."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["IntrinsicDimension", "intrinsic_dimension", "two_nearest_neighbours"]

_BLOCK = 1024
"""Rows of the distance matrix that are in memory at once."""


@dataclass(frozen=True)
class IntrinsicDimension(Result):
    """Estimated dimension of codes, next to that of independent codes with the same marginals.

    Attributes:
        dimension: estimate for the codes.
        reference: the same estimate for the codes with every column shuffled, which fill all d dimensions.
            It is below d when d is large, because neighbours are far away in high dimension. Compare
            ``dimension`` with it.
        ambient: number of dimensions d.

    Example:
        >>> from mmdprior.flows import IntrinsicDimension
        >>> print(IntrinsicDimension(dimension=2.1, reference=7.8, ambient=8))
        intrinsic dimension 2.1 of 8 (7.8 with shuffled columns)
    """

    dimension: float
    reference: float
    ambient: int

    @property
    def deficient(self) -> bool:
        """Whether the codes fill clearly fewer dimensions than they have: below 0.7 of the reference."""
        return self.dimension < 0.7 * self.reference

    def __str__(self) -> str:
        return (
            f"intrinsic dimension {self.dimension:.1f} of {self.ambient} "
            f"({self.reference:.1f} with shuffled columns)"
        )


def intrinsic_dimension(
    codes: Float[Tensor, "n d"], *, rows: int = 4000, seed: int = 0
) -> IntrinsicDimension:
    """Estimate the dimension of the set that codes fill.

    Args:
        codes: at least 20 distinct rows. Scale the dimensions alike first, for example by `whitening`.
        rows: largest number of rows to use, drawn at random.
        seed: seed of the rows and of the shuffled columns.

    Raises:
        InputError: fewer than 20 distinct rows.

    Example:
        >>> import torch
        >>> from mmdprior.flows import intrinsic_dimension
        >>> plane = torch.randn(1000, 2) @ torch.randn(2, 8)
        >>> result = intrinsic_dimension(plane)
        >>> 1.7 < result.dimension < 2.3, result.deficient
        (True, True)
    """
    order = torch.randperm(len(codes), generator=stream(seed, "intrinsic_dimension"))[:rows]
    sample = codes.detach()[order.to(codes.device)].double()
    keys = torch.rand(sample.shape, generator=stream(seed, "shuffled columns")).to(sample.device)
    shuffled = sample.gather(0, keys.argsort(0))
    return IntrinsicDimension(
        two_nearest_neighbours(sample), two_nearest_neighbours(shuffled), codes.shape[1]
    )


def two_nearest_neighbours(points: Float[Tensor, "n d"], discard: float = 0.1) -> float:
    """Return the two-nearest-neighbour estimate of the intrinsic dimension.

    The ratio mu = r2 / r1 of the distances to the second and first neighbour has P(mu > x) = x^-D where the
    density is locally constant (Facco et al., Scientific Reports 7, 2017). This is the maximum-likelihood
    estimate of D with the largest ratios censored.

    Args:
        points: at least 20 distinct rows; copies of a row are used once.
        discard: share of the largest ratios that are only known to be at least as large as the others.

    Raises:
        InputError: fewer than 20 distinct rows.
    """
    points = points.unique(dim=0)
    if len(points) < 20:
        raise InputError(f"points: {len(points)} distinct rows received; give at least 20")
    nearest = []
    for block in points.split(_BLOCK):
        distances = torch.cdist(block, points, compute_mode="donot_use_mm_for_euclid_dist")
        nearest.append(distances.topk(3, largest=False).values[:, 1:])  # the first is the point itself
    first, second = torch.cat(nearest).unbind(1)
    log_ratios = (second / first).log().sort().values
    kept = len(log_ratios) - int(discard * len(log_ratios))
    # Type II censoring of an exponential sample: D = k / (sum of the k smallest + (n - k) the k-th).
    total = log_ratios[:kept].sum() + (len(log_ratios) - kept) * log_ratios[kept - 1]
    return float(kept / total)
