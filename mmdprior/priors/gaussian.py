"""Gaussians with correlated dimensions."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.marginals import NormalMarginal, one_each
from mmdprior.priors.prior import Marginal, Moments, Prior, numbers

__all__ = ["FullGaussian", "LowRankGaussian", "cholesky"]

_SINGULAR = 1e-7
_ASYMMETRIC = 1e-5


class FullGaussian(Prior):
    """Gaussian with any covariance, N(mean, covariance).

    Args:
        covariance: (d, d) symmetric positive definite; fixes the dimension.
        mean: one number, or one a dimension.

    Raises:
        InputError: a covariance that is not square, not symmetric or not positive definite, or a mean
            that is not d long.
    """

    def __init__(
        self, covariance: Tensor | Sequence[Sequence[float]], mean: float | Sequence[float] = 0.0
    ) -> None:
        matrix, factor = cholesky("covariance", covariance)
        super().__init__(len(matrix))
        self.register_buffer("mean", self._vector("mean", mean))
        self.register_buffer("covariance", matrix)
        self.register_buffer("factor", factor)
        self.mean: Tensor
        self.covariance: Tensor
        self.factor: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.mean + full_matmul(self._normal((n, self.dim), generator), self.factor.T)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z."""
        factor = self.factor.to(z)
        white = torch.linalg.solve_triangular(factor, (z - self.mean.to(z)).T, upper=False)
        log_norm = factor.diagonal().log().sum() + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * white.square().sum(0) - log_norm

    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments(self.mean, self.covariance)

    @property
    def independent(self) -> bool:
        """Whether the covariance is diagonal."""
        return not bool(self.covariance.tril(-1).any())

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, covariance_ii)."""
        return one_each(NormalMarginal, self.mean, self.covariance.diagonal().sqrt())


class LowRankGaussian(Prior):
    """Gaussian with covariance F F' + diag(scale^2), for few shared directions in many dimensions.

    Sampling and scoring cost O(n d r) and never form the d x d covariance.

    Args:
        factor: F, (d, r); fixes the dimension.
        scale: standard deviation of each dimension's own noise, one number or one a dimension.
        mean: one number, or one a dimension.

    Raises:
        InputError: a factor that is no d x r table, a non-positive scale, or a sequence that is not d
            long.
    """

    def __init__(
        self,
        factor: Tensor | Sequence[Sequence[float]],
        scale: float | Sequence[float] = 1.0,
        mean: float | Sequence[float] = 0.0,
    ) -> None:
        table = _table("factor", factor)
        super().__init__(len(table))
        self.register_buffer("factor", table)
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.register_buffer("mean", self._vector("mean", mean))
        self.factor: Tensor
        self.scale: Tensor
        self.mean: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        shared = full_matmul(self._normal((n, self.factor.shape[1]), generator), self.factor.T)
        return self.mean + shared + self.scale * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z.

        With G = diag(1/scale) F, x = (z - mean) / scale and C = I + G'G, the quadratic form is
        |x|^2 - (G'x)' C^-1 (G'x) (Woodbury) and the determinant |C| prod scale^2.
        """
        scale = self.scale.to(z)
        whitened, x = self.factor.to(z) / scale[:, None], (z - self.mean.to(z)) / scale
        rank = torch.eye(whitened.shape[1], dtype=z.dtype, device=z.device)
        capacitance = torch.linalg.cholesky(rank + full_matmul(whitened.T, whitened))
        projected = full_matmul(whitened.T, x.T)
        explained = torch.linalg.solve_triangular(capacitance, projected, upper=False).square().sum(0)
        log_scale = scale.log().sum() + capacitance.diagonal().log().sum()
        log_norm = log_scale + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * (x.square().sum(1) - explained) - log_norm

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """F F' + diag(scale^2)."""
        return full_matmul(self.factor, self.factor.T) + torch.diag(self.scale.square())

    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments(self.mean, self.covariance)

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, |F_i|^2 + scale_i^2)."""
        variance = self.factor.square().sum(1) + self.scale.square()
        return one_each(NormalMarginal, self.mean, variance.sqrt())


def _table(name: str, value: object) -> Tensor:
    table = numbers(name, value)
    if table.ndim != 2 or 0 in table.shape or not bool(torch.isfinite(table).all()):
        raise InputError(f"{name}: shape {tuple(table.shape)} received; give a table of finite numbers")
    return table.clone()


def cholesky(name: str, value: object) -> tuple[Tensor, Tensor]:
    """Return a positive definite matrix and its lower Cholesky factor, or raise `InputError` naming it."""
    matrix = _table(name, value)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{name}: shape {tuple(matrix.shape)} received; give a square matrix")
    exact = matrix.double()
    gap = (exact - exact.T).abs()
    if bool(gap.max() > _ASYMMETRIC * exact.abs().max()):
        i, j = divmod(int(gap.argmax()), len(exact))
        raise InputError(
            f"{name}: not symmetric, entry ({i}, {j}) is {exact[i, j]:g} and ({j}, {i}) is "
            f"{exact[j, i]:g}; give a symmetric matrix"
        )
    exact = (exact + exact.T) / 2
    eigenvalues = torch.linalg.eigvalsh(exact)
    if not bool(eigenvalues[0] > _SINGULAR * eigenvalues[-1].abs()):
        raise InputError(
            f"{name}: not positive definite, its smallest eigenvalue is {eigenvalues[0]:g}; "
            "every eigenvalue must be above 0"
        )
    return exact.to(matrix), torch.linalg.cholesky(exact).to(matrix)
