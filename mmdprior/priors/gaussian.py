"""Gaussian priors: with independent dimensions, any covariance, or a low-rank covariance."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.arguments import number_table
from mmdprior.priors.factorized import Factorized
from mmdprior.priors.marginals import NormalMarginal, per_dimension
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.snapshot import Derived

__all__ = ["FullGaussian", "Gaussian", "LowRankGaussian", "cholesky_factor", "covariance_matrix"]

_SMALLEST_EIGENVALUE = 1e-7
"""Smallest eigenvalue of a positive definite matrix, relative to its largest: about float32's precision."""

_ASYMMETRY = 1e-5
"""Largest difference of entries (i, j) and (j, i), relative to the largest entry, that counts as rounding."""


class Gaussian(Factorized):
    """The Gaussian N(mean, diag(scale^2)).

    Args:
        dim: number of dimensions d.
        mean: mean, one number or one per dimension.
        scale: standard deviation, one number or one per dimension.

    Raises:
        InputError: a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import Gaussian
        >>> prior = Gaussian(3, mean=[0.0, 1.0, 2.0], scale=0.5)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.moments().mean.tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(
        self, dim: int, mean: float | Sequence[float] = 0.0, scale: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__(dim)
        self.register_buffer("mean", self._vector("mean", mean))
        self.register_buffer("scale", self._vector("scale", scale, positive=True))
        self.mean: Tensor
        self.scale: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.mean + self.scale * self._normal((n, self.dim), generator)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        mean, scale = self.mean.to(z), self.scale.to(z)
        standardised = (z - mean) / scale
        log_norm = scale.log().sum() + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * standardised.square().sum(1) - log_norm

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return Moments(self.mean, torch.diag(self.scale.square()))

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, scale_i^2)."""
        return per_dimension(NormalMarginal, self.mean, self.scale)


class FullGaussian(Prior):
    """The Gaussian N(mean, covariance) with any covariance.

    Args:
        covariance: symmetric positive definite matrix, (d, d). It sets the number of dimensions.
        mean: mean, one number or one per dimension.

    Raises:
        InputError: the covariance is not square, not symmetric or not positive definite, or the mean is not d
            long.

    Example:
        >>> from mmdprior.priors import FullGaussian
        >>> prior = FullGaussian([[1.0, 0.8], [0.8, 1.0]])
        >>> prior.sample(10).shape
        torch.Size([10, 2])
        >>> prior.independent
        False
    """

    _former_buffers = ("factor",)

    def __init__(
        self, covariance: Tensor | Sequence[Sequence[float]], mean: float | Sequence[float] = 0.0
    ) -> None:
        matrix = covariance_matrix("covariance", covariance)
        super().__init__(len(matrix))
        self.register_buffer("mean", self._vector("mean", mean))
        self.register_buffer("covariance", matrix)
        self.mean: Tensor
        self.covariance: Tensor
        self._factor = Derived(partial(cholesky_factor, "covariance"))

    @property
    def factor(self) -> Float[Tensor, "d d"]:
        """The lower Cholesky factor of the covariance."""
        return self._factor.of(self.covariance).to(self.covariance)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        return self.mean + full_matmul(self._normal((n, self.dim), generator), self.factor.T)

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z."""
        factor = self.factor.to(z)
        white = torch.linalg.solve_triangular(factor, (z - self.mean.to(z)).T, upper=False)
        log_norm = factor.diagonal().log().sum() + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * white.square().sum(0) - log_norm

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return Moments(self.mean, self.covariance)

    @property
    def independent(self) -> bool:
        """Whether the covariance is diagonal."""
        return not bool(self.covariance.tril(-1).any())

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, covariance_ii)."""
        return per_dimension(NormalMarginal, self.mean, self.covariance.diagonal().sqrt())


class LowRankGaussian(Prior):
    """The Gaussian with covariance F F' + diag(scale^2): few shared directions in many dimensions.

    Sampling and ``log_prob`` cost O(n d r) and never form the (d, d) covariance.

    Args:
        factor: F, (d, r). It sets the number of dimensions.
        scale: standard deviation of the independent noise, one number or one per dimension.
        mean: mean, one number or one per dimension.

    Raises:
        InputError: the factor is not a (d, r) table, a scale is not positive, or a sequence is not d long.

    Example:
        >>> from mmdprior.priors import LowRankGaussian
        >>> prior = LowRankGaussian([[1.0], [2.0], [0.0]], scale=1.0)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.covariance.tolist()
        [[2.0, 2.0, 0.0], [2.0, 5.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        factor: Tensor | Sequence[Sequence[float]],
        scale: float | Sequence[float] = 1.0,
        mean: float | Sequence[float] = 0.0,
    ) -> None:
        table = number_table("factor", factor, "d rows of r finite numbers")
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
        """Return the log-density in nats of each row of z.

        With G = diag(1/scale) F, x = (z - mean) / scale and C = I + G'G, the quadratic form is
        |x|^2 - (G'x)' C^-1 (G'x) (Woodbury identity). The determinant of the covariance is
        |C| prod_i scale_i^2 (matrix determinant lemma).
        """
        scale = self.scale.to(z)
        g, x = self.factor.to(z) / scale[:, None], (z - self.mean.to(z)) / scale
        identity = torch.eye(g.shape[1], dtype=z.dtype, device=z.device)
        # C = L L'. It is positive definite: the variant without a check does not wait for a GPU.
        c_factor = torch.linalg.cholesky_ex(identity + full_matmul(g.T, g)).L
        projected = full_matmul(g.T, x.T)
        # (G'x)' C^-1 (G'x) = |L^-1 G'x|^2
        explained = torch.linalg.solve_triangular(c_factor, projected, upper=False).square().sum(0)
        log_scale = scale.log().sum() + c_factor.diagonal().log().sum()
        log_norm = log_scale + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * (x.square().sum(1) - explained) - log_norm

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance F F' + diag(scale^2)."""
        return full_matmul(self.factor, self.factor.T) + torch.diag(self.scale.square())

    def moments(self) -> Moments:
        """Return mean and covariance."""
        return Moments(self.mean, self.covariance)

    def marginals(self) -> list[Marginal]:
        """Return N(mean_i, |F_i|^2 + scale_i^2)."""
        variance = self.factor.square().sum(1) + self.scale.square()
        return per_dimension(NormalMarginal, self.mean, variance.sqrt())


def covariance_matrix(name: str, value: object) -> Tensor:
    """Return a symmetric positive definite matrix.

    Args:
        name: argument name for the error.
        value: nested sequence or tensor, (d, d). Asymmetry within rounding is averaged out.

    Raises:
        InputError: value is not square, not symmetric or not positive definite.
    """
    matrix = number_table(name, value, "a square table of finite numbers")
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{name}: shape {tuple(matrix.shape)} received; give a square matrix")
    return _symmetric(name, matrix.double()).to(matrix)


def cholesky_factor(name: str, matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Return the lower Cholesky factor of a matrix, computed in float64 on the CPU.

    Args:
        name: name of the matrix for the error.
        matrix: a buffer, which may have been changed after it was checked.

    Raises:
        InputError: the matrix is not symmetric or not positive definite.
    """
    return torch.linalg.cholesky(_symmetric(name, matrix.detach().cpu().double())).to(matrix)


def _symmetric(name: str, matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Return a float64 matrix without asymmetry, after checking that it is positive definite."""
    gap = (matrix - matrix.T).abs()
    if bool(gap.max() > _ASYMMETRY * matrix.abs().max()):
        i, j = divmod(int(gap.argmax()), len(matrix))
        raise InputError(
            f"{name}: not symmetric, entry ({i}, {j}) is {matrix[i, j]:g} and ({j}, {i}) is "
            f"{matrix[j, i]:g}; give a symmetric matrix"
        )
    matrix = (matrix + matrix.T) / 2
    eigenvalues = torch.linalg.eigvalsh(matrix)
    if not bool(eigenvalues[0] > _SMALLEST_EIGENVALUE * eigenvalues[-1].abs()):
        raise InputError(
            f"{name}: not positive definite, its smallest eigenvalue is {eigenvalues[0]:g}; "
            "every eigenvalue must be above 0"
        )
    return matrix
