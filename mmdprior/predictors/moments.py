"""First and second moments of many rows, exact and in bounded memory."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.precision import in_float64

__all__ = ["Ranks", "covariance", "inverse", "mean_and_std", "solve"]

_ENTRIES = 1 << 24
_CACHED = 1 << 19
_SLOW = 1e12


def mean_and_std(z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Return the mean and the standard deviation (dividing by n) of every column, in the type of z.

    In float64 and blocks that fit a cache: several times as fast on a CPU as `torch.std`. A column that does
    not vary has exactly zero.
    """
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

    The rows are visited in blocks of at most 128 MiB, so a million rows of 512 columns need no second copy.
    Where features would take more than 1e12 products on a CPU each block's are summed in float32, in half
    the time; the error is about 1e-6 of a variance.

    Args:
        z: the rows of every problem.
        features: of a block of rows, (p, b, d) -> (p, b, e); the rows themselves by default.
    """
    p, n, _ = z.shape

    def rows_of(block: Tensor) -> Tensor:
        return in_float64(block if features is None else features(block))

    # Centring by the first rows keeps a large common offset out of the products.
    shift = rows_of(z[:, :256]).mean(1, keepdim=True)
    width = shift.shape[2]
    single = features is not None and z.device.type == "cpu" and p * n * width**2 > _SLOW
    total, product = torch.zeros_like(shift), shift.new_zeros(p, width, width)
    # Small blocks stay in the cache, but each adds to the product as a whole.
    size = min(max(_CACHED // (p * width), 2 * width), _ENTRIES // (p * width))
    for block in z.split(max(1, size), dim=1):
        exact = (block if features is None else rows_of(block)).to(shift.device) - shift
        total += exact.sum(1, keepdim=True)
        if single:
            with torch.autocast("cpu", enabled=False):
                product += exact.float().mT @ exact.float()
        else:
            product.baddbmm_(exact.mT, exact)
    mean = total / n
    return mean + shift, product / n - mean.mT @ mean


def inverse(matrix: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Invert positive definite matrices by Cholesky factors; singular ones by their pseudo-inverses.

    Not by LU: batches of more than about 150 columns come back wrong, without an error, from the CPU's LU
    of torch 2.14. Nor by `torch.cholesky_inverse`, which takes ten times as long.
    """
    factor, bad = _factor(matrix)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    half = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    found = half.mT @ half
    if bool(bad.any()):
        found[bad] = torch.linalg.pinv(matrix[bad], hermitian=True)
    return found


def solve(matrix: Float[Tensor, "*batch d d"], right: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Solve positive definite systems in float64 by Cholesky factors; singular ones by least norm."""
    exact, target = matrix.double(), right.double()[..., None]
    factor, bad = _factor(exact)
    found = torch.cholesky_solve(target, factor)
    if bool(bad.any()):
        found[bad] = torch.linalg.pinv(exact[bad], hermitian=True) @ target[bad]
    return found.squeeze(-1).to(right)


def _factor(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors, and which matrices have none; the identity stands for theirs."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    bad = (info != 0) | ~torch.isfinite(factor).flatten(-2).all(-1)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.where(bad[..., None, None], identity, factor), bad


_KNOTS = 4096


class Ranks:
    """The empirical distribution function of every column, F(z) = (mid-rank of z) / n.

    Held-out values fall between those of training by linear interpolation, equal values share their
    middle rank, and values beyond the training range get its ends, so F lies in [1/2n, 1 - 1/2n]. Above
    4,096 rows as many quantiles stand for the rows.

    Args:
        train: (p, n, d) codes that give the ranks.
    """

    def __init__(self, train: Float[Tensor, "p n d"]) -> None:
        self.n = train.shape[1]
        kept = min(self.n, _KNOTS)
        rows = torch.linspace(0, self.n - 1, kept, dtype=torch.float64).round().long().to(train.device)
        columns = [column.sort(dim=1).values[:, rows] for column in train.unbind(2)]
        self.knots = torch.stack(columns, 1).contiguous()
        self.levels = ((rows + 0.5) / self.n).to(train)

    def uniform(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return F of every entry, about uniform for codes like those of training."""
        values = z.mT.contiguous()
        right = torch.searchsorted(self.knots, values, right=True)
        left = torch.searchsorted(self.knots, values)
        last = self.knots.shape[2] - 1
        low, high = (right - 1).clamp(0, last), right.clamp(0, last)
        below, above = self.knots.gather(2, low), self.knots.gather(2, high)
        share = ((values - below) / (above - below)).nan_to_num(0, 0, 0).clamp(0, 1)
        between = self.levels[low] + share * (self.levels[high] - self.levels[low])
        tied = (self.levels[left.clamp(0, last)] + self.levels[low]) / 2
        return torch.where(right > left, tied, between).mT

    def gaussian(self, z: Float[Tensor, "p k d"]) -> Float[Tensor, "p k d"]:
        """Return the standard normal quantile of F."""
        return math.sqrt(2) * torch.erfinv(2 * self.uniform(z) - 1)
