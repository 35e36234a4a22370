"""Means, covariances and ranks of many rows in bounded memory, and inverses of covariances."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.atoms import Atoms
from mmdprior.precision import in_float64

__all__ = ["Ranks", "covariance", "inverse", "mean_and_std", "solve"]

_BLOCK = 1 << 24
"""Entries of the largest block of rows: 128 MiB in float64."""
_CACHED = 1 << 19
"""Entries of a block that stays in a CPU's cache: 4 MiB in float64."""
_SLOW = 1e12
"""Products above which a CPU sums the covariance of features in float32."""
_KNOTS = 4096
"""Quantiles that `Ranks` keeps of a column."""


def mean_and_std(z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Return the mean and the standard deviation (dividing by n) of every column, in the type of z.

    Sums are in float64, over blocks that fit the cache: several times as fast on a CPU as `torch.std`. The
    standard deviation of a constant column is exactly zero.
    """
    # var = mean (z - s)^2 - (mean z - s)^2 for any s. With s the first row, a constant column gives 0 - 0.
    shift = in_float64(z[:1])
    total, squared = torch.zeros_like(shift), torch.zeros_like(shift)
    for block in z.split(max(1, _CACHED // z.shape[1])):
        centred = in_float64(block) - shift
        total += centred.sum(0, keepdim=True)
        squared += centred.square_().sum(0, keepdim=True)
    mean = total / len(z)
    std = (squared / len(z) - mean.square()).clamp(min=0).sqrt()
    return (mean + shift)[0].to(z), std[0].to(z)


def covariance(
    z: Float[Tensor, "p n d"], features: Callable[[Tensor], Tensor] | None = None
) -> tuple[Float[Tensor, "p 1 e"], Float[Tensor, "p e e"]]:
    """Return the mean and the covariance (dividing by n) of rows or of their features, in float64.

    Rows are read in blocks of at most 128 MiB, so a million rows of 512 columns need no second copy. Where
    features would take more than 1e12 products on a CPU, the products of each block are computed in
    float32, in half the time, with an error of about 1e-6 of a variance.

    Args:
        z: rows of every problem.
        features: function of a block of rows, (p, b, d) -> (p, b, e); the rows themselves by default.
    """
    p, n, _ = z.shape

    def features_of(block: Tensor) -> Tensor:
        return in_float64(block if features is None else features(block))

    # Cov = mean (x - s)(x - s)' - (mean x - s)(mean x - s)' for any s. With s the mean of the first rows, a
    # large common offset cancels before it is squared.
    shift = features_of(z[:, :256]).mean(1, keepdim=True)
    width = shift.shape[2]
    single = features is not None and z.device.type == "cpu" and p * n * width**2 > _SLOW
    total, product = torch.zeros_like(shift), shift.new_zeros(p, width, width)
    # Small blocks stay in the cache. At least 2 e rows, because every block adds to the whole e x e product.
    size = min(max(_CACHED // (p * width), 2 * width), _BLOCK // (p * width))
    for block in z.split(max(1, size), dim=1):
        exact = (block if features is None else features_of(block)).to(shift.device) - shift
        total += exact.sum(1, keepdim=True)
        if single:
            with torch.autocast("cpu", enabled=False):
                product += exact.float().mT @ exact.float()
        else:
            product.baddbmm_(exact.mT, exact)
    mean = total / n
    return mean + shift, product / n - mean.mT @ mean


def inverse(matrix: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Return inverses of positive definite matrices, and pseudo-inverses of singular ones.

    By Cholesky factors, A = L L' and A^-1 = L'^-1 L^-1. Not by LU: the CPU's batched LU of torch 2.14 returns
    wrong results, without an error, for more than about 150 columns. Not by `torch.cholesky_inverse`, which
    takes ten times as long.
    """
    factor, singular = _cholesky(matrix)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    half = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    result = half.mT @ half
    if bool(singular.any()):
        result[singular] = torch.linalg.pinv(matrix[singular], hermitian=True)
    return result


def solve(matrix: Float[Tensor, "*batch d d"], right: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Return solutions of positive definite systems, and least-norm ones of singular systems, in float64."""
    exact, target = matrix.double(), right.double()[..., None]
    factor, singular = _cholesky(exact)
    result = torch.cholesky_solve(target, factor)
    if bool(singular.any()):
        result[singular] = torch.linalg.pinv(exact[singular], hermitian=True) @ target[singular]
    return result.squeeze(-1).to(right)


def _cholesky(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors, and a mask of the matrices that have none (their factor is the identity)."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    singular = (info != 0) | ~torch.isfinite(factor).flatten(-2).all(-1)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.where(singular[..., None, None], identity, factor), singular


class Ranks:
    """Empirical distribution function of every column, F(z) = (mid-rank of z) / n.

    Held-out values between training values are interpolated linearly. Equal values share their middle rank.
    Values outside the training range get the rank of its ends, so F is in [1/2n, 1 - 1/2n]. Above 4,096 rows,
    4,096 quantiles replace the rows.

    Args:
        train: (p, n, d) codes that define the ranks.
        atoms: atoms of the columns, each of which counts as at most one cell; without them all rows count
            alike. One value that holds 95 % of the rows otherwise leaves 5 % of the scale for all others.

    Example:
        >>> import torch
        >>> from mmdprior.predictors import Ranks
        >>> codes = torch.tensor([[[10.0], [20.0], [30.0], [40.0]]])
        >>> Ranks(codes).uniform(codes).flatten()
        tensor([0.1250, 0.3750, 0.6250, 0.8750])
        >>> Ranks(codes).uniform(torch.tensor([[[25.0], [99.0]]])).flatten()
        tensor([0.5000, 0.8750])
    """

    def __init__(self, train: Float[Tensor, "p n d"], atoms: Atoms | None = None) -> None:
        self.n = train.shape[1]
        count = min(self.n, _KNOTS)
        rows = torch.linspace(0, self.n - 1, count, dtype=torch.float64).round().long().to(train.device)
        columns = [column.sort(dim=1).values[:, rows] for column in train.unbind(2)]
        self.knots = torch.stack(columns, 1).contiguous()
        self.levels = ((rows + 0.5) / self.n).to(train).expand(self.knots.shape)
        if atoms is not None and atoms.count:
            self.levels = self.levels.clone()
            position = atoms.position(train)
            for q, i in atoms.columns():
                self._weigh(q, i, train[q, :, i], position[q, :, i], self.n / atoms.cells)

    def _weigh(self, problem: int, dimension: int, values: Tensor, position: Tensor, cell: float) -> None:
        """Define one column by rows of weights that sum to at most the rows of a cell for every atom."""
        counts = torch.bincount(position + 1).double()
        weight = (cell / counts).clamp(max=1)
        weight[0] = 1.0  # the rows of other values
        ordered, order = values.sort()
        weights = weight[position[order] + 1]
        total = weights.cumsum(0)
        knots, levels = self.knots[problem, dimension], self.levels[problem, dimension]
        rows = torch.arange(self.n, device=total.device)
        if len(knots) < self.n:
            shares = torch.linspace(0, 1, len(knots), dtype=torch.float64, device=total.device)
            rows = torch.searchsorted(total, shares * total[-1]).clamp(max=self.n - 1)
        knots.copy_(ordered[rows])
        levels.copy_((total - weights / 2)[rows] / total[-1])

    def uniform(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return F of every entry: about uniform for codes distributed like the training codes."""
        values = z.mT.contiguous()
        right = torch.searchsorted(self.knots, values, right=True)
        left = torch.searchsorted(self.knots, values)
        last = self.knots.shape[2] - 1
        # Between two knots: linear interpolation of their levels.
        low, high = (right - 1).clamp(0, last), right.clamp(0, last)
        below, above = self.knots.gather(2, low), self.knots.gather(2, high)
        share = ((values - below) / (above - below)).nan_to_num(0, 0, 0).clamp(0, 1)
        first, lower, upper = (self.levels.gather(2, index) for index in (left.clamp(0, last), low, high))
        between = lower + share * (upper - lower)
        # On one or several equal knots: the middle of their levels.
        tied = (first + lower) / 2
        return torch.where(right > left, tied, between).mT

    def gaussian(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return the standard normal quantile of F for every entry."""
        return math.sqrt(2) * torch.erfinv(2 * self.uniform(z) - 1)
