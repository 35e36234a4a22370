"""Moments of rows that arrive in batches, in float64, and the held-out R2 that follows from them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.metrics.scaling import divided
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import inverse

__all__ = ["RunningMoments", "held_out_r2", "hashed_rows"]

_BLOCK = 1 << 22
"""Entries of a block of rows that is converted to float64 at a time: 32 MiB."""
_BITS = 53
"""Bits of a hash."""


@dataclass
class RunningMoments:
    """Number, mean and sum of products of rows, updated batch by batch (Chan, Golub and LeVeque, 1979).

    Attributes:
        n: number of rows.
        mean: (d,) mean in float64.
        products: (d, d) sum of (z - mean)(z - mean)' in float64.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.running_moments import RunningMoments
        >>> rows = torch.randn(100, 3, dtype=torch.float64)
        >>> moments = RunningMoments.empty(3)
        >>> for batch in rows.split(30):
        ...     moments.update(batch)
        >>> bool(torch.allclose(moments.covariance, rows.T.cov(correction=0)))
        True
    """

    n: int
    mean: Tensor
    products: Tensor

    @staticmethod
    def empty(d: int, device: torch.device | str = "cpu") -> "RunningMoments":
        """Return the moments of no rows."""
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        zeros = torch.zeros(d, d + 1, dtype=dtype, device=device)
        return RunningMoments(0, zeros[:, 0].clone(), zeros[:, 1:].clone())

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Covariance, dividing by n."""
        return self.products / max(1, self.n)

    def update(self, rows: Float[Tensor, "b d"]) -> None:
        """Add rows, without synchronisation of a GPU."""
        for block in rows.split(max(1, _BLOCK // rows.shape[1])):
            exact = in_float64(block).to(self.mean.device)
            mean = exact.mean(0)
            exact = exact - mean
            self.merge(RunningMoments(len(block), mean, exact.T @ exact))

    def merge(self, other: "RunningMoments") -> None:
        """Add the rows of other moments."""
        if other.n == 0:
            return
        n, difference = self.n + other.n, other.mean.to(self.mean) - self.mean
        # mean = mean_a + delta n_b / n;  S = S_a + S_b + delta delta' n_a n_b / n
        self.products += other.products.to(self.products)
        self.products.addr_(difference, difference, alpha=self.n * other.n / n)
        self.mean += difference * (other.n / n)
        self.n = n

    def scaled(self, exponents: Tensor | None) -> "RunningMoments":
        """Return the moments of columns times powers of two; the same for None."""
        if exponents is None:
            return self
        factors = exponents.to(self.mean.device)
        products = divided(divided(self.products, -factors).T, -factors).T
        return RunningMoments(self.n, divided(self.mean[None], -factors)[0], products)


def held_out_r2(
    train: RunningMoments, test: RunningMoments, active: Bool[Tensor, "d"], ridge: float
) -> Float[Tensor, "a"]:
    """Return R2 over the test rows of the ridge regression of every active dimension on the others.

    `mmdprior.predictors.LinearPredictor` gives the same for the rows, standardised by the training rows.

    Args:
        train: moments of the training rows.
        test: moments of the test rows.
        active: dimensions to score.
        ridge: number added to the diagonal of the covariance, relative to its mean.
    """
    std = train.covariance.diagonal()[active].sqrt()
    scale = torch.outer(std, std)
    correlation = train.covariance[active][:, active] / scale
    correlation.diagonal().add_(ridge * correlation.diagonal().mean())
    precision = inverse(correlation[None])[0]
    # Column i of P, divided by P_ii, maps codes centred by the training mean to the residual of dimension i.
    weights = precision / precision.diagonal()
    shift = (test.mean - train.mean)[active]
    second = (test.covariance[active][:, active] + torch.outer(shift, shift)) / scale
    residual = (weights * (second @ weights)).sum(0)
    variance = test.covariance.diagonal()[active] / std.square()
    return torch.where(variance > 0, 1 - residual / variance, 0.0)


def hashed_rows(start: int, count: int, seed: int, rank: int = 0) -> Tensor:
    """Return one hash per row, uniform over the integers below 2^53: a function of the row's number.

    SplitMix64 (Steele, Lea and Flood, 2014), on the CPU, so that a GPU is not waited for.

    Args:
        start: number of the first row.
        count: number of rows.
        seed: seed; other seeds give unrelated hashes.
        rank: rank of the process that counts the rows.

    Example:
        >>> from mmdprior.metrics.running_moments import hashed_rows
        >>> share = (hashed_rows(0, 100_000, seed=0) < 0.2 * 2**53).double().mean()
        >>> abs(share.item() - 0.2) < 0.005
        True
    """
    offset = torch.tensor([seed, rank], dtype=torch.int64)
    key = _mixed(_mixed(offset[:1]) + offset[1:])
    return _mixed(torch.arange(start, start + count) + key) >> (64 - _BITS) & ((1 << _BITS) - 1)


def _mixed(x: Tensor) -> Tensor:
    """Return the SplitMix64 hash of 64-bit integers, which overflow on purpose."""
    x = x * -7046029254386353131  # 0x9E3779B97F4A7C15
    x = (x ^ _shifted(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shifted(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Return a logical shift to the right."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
