"""First and second moments of many rows, exact and in bounded memory."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["covariance", "in_float64", "inverse", "solve"]

_ENTRIES = 1 << 24


def in_float64(z: Tensor) -> Tensor:
    """Return z in float64, on the CPU where its device has none (MPS)."""
    return z.cpu().double() if z.device.type == "mps" else z.double()


def covariance(
    z: Float[Tensor, "p n d"], features: Callable[[Tensor], Tensor] | None = None
) -> tuple[Float[Tensor, "p 1 e"], Float[Tensor, "p e e"]]:
    """Return the mean and the covariance (dividing by n) of rows or of their features, in float64.

    The rows are visited in blocks of 128 MiB, so a million rows of 512 columns need no second copy.

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
    total, product = torch.zeros_like(shift), shift.new_zeros(p, width, width)
    for block in z.split(max(1, _ENTRIES // (p * width)), dim=1):
        exact = rows_of(block) - shift
        total += exact.sum(1, keepdim=True)
        product.baddbmm_(exact.mT, exact)
    mean = total / n
    return mean + shift, product / n - mean.mT @ mean


def inverse(matrix: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Invert positive definite matrices by Cholesky factors; singular ones by their pseudo-inverses.

    Not by LU: batches of more than about 150 columns come back wrong, without an error, from the CPU's LU
    of torch 2.14.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    found = torch.cholesky_inverse(factor)
    bad = (info != 0) | ~torch.isfinite(found).flatten(-2).all(-1)
    if bool(bad.any()):
        found[bad] = torch.linalg.pinv(matrix[bad], hermitian=True)
    return found


def solve(matrix: Float[Tensor, "*batch d d"], right: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Solve positive definite systems in float64 by Cholesky factors; singular ones by least norm."""
    exact, target = matrix.double(), right.double()[..., None]
    factor, info = torch.linalg.cholesky_ex(exact)
    found = torch.cholesky_solve(target, factor)
    bad = (info != 0) | ~torch.isfinite(found).flatten(-2).all(-1)
    if bool(bad.any()):
        found[bad] = torch.linalg.pinv(exact[bad], hermitian=True) @ target[bad]
    return found.squeeze(-1).to(right)
