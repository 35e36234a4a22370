"""Dependence between given marginals by a Gaussian copula."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.factorized import Gaussian
from mmdprior.priors.gaussian import cholesky
from mmdprior.priors.marginals import NormalMarginal, UniformMarginal
from mmdprior.priors.prior import Marginal, Moments, Prior, numbers, positive_int

__all__ = ["Chain", "Correlated", "Tree"]

_SMALLEST, _LARGEST = 1e-300, 1 - 2.0**-53


class Correlated(Prior):
    """Gaussian copula over the marginals of any prior: z_i = F_i^-1(Phi(g_i)), g ~ N(0, R).

    The marginals are exactly those of the base, and the rank correlations follow from R: Kendall's tau
    is 2/pi asin(R_ij). Over normal marginals R is the correlation itself.

    Args:
        base: a prior with marginals; its own dependence, if any, is not used.
        correlation: R, one number for all pairs or a (d, d) matrix with ones on its diagonal.

    Raises:
        InputError: a base without marginals, or a matrix that is not (d, d), not symmetric, not
            positive definite or without ones on its diagonal.
    """

    def __init__(self, base: Prior, correlation: float | Sequence[Sequence[float]] | Tensor) -> None:
        super().__init__(base.dim)
        matrix, factor = cholesky("correlation", _square(correlation, base.dim))
        diagonal = matrix.diagonal()
        if matrix.shape != (base.dim, base.dim):
            raise InputError(
                f"correlation: shape {tuple(matrix.shape)} received; give one number or "
                f"({base.dim}, {base.dim}) for this base"
            )
        if not bool(((diagonal - 1).abs() < 1e-5).all()):
            raise InputError(f"correlation: diagonal {diagonal.tolist()} received; it must be all ones")
        self.base = base
        self.register_buffer("correlation", matrix)
        self.register_buffer("factor", factor)
        self.correlation: Tensor
        self.factor: Tensor
        self._groups = _grouped(base.marginals())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        g = full_matmul(self._normal((n, self.dim), generator), self.factor.T)
        z = torch.empty_like(g)
        for marginal, columns in self._groups:
            z[:, columns] = _from_normal(marginal, g[:, columns])
        return z

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Log-density in nats of each row of z: of the base plus of the copula.

        Raises:
            InputError: a base that has no density, or whose dimensions are dependent.
        """
        if not self.base.independent:
            raise InputError(f"{self._name} over {self.base._name} has no log_prob; use an independent base")
        base = self.base.log_prob(z)
        order = torch.cat([torch.as_tensor(columns) for _, columns in self._groups])
        normal = torch.cat([_to_normal(marginal, z[:, columns]) for marginal, columns in self._groups], 1)
        g = normal[:, order.argsort().to(z.device)]
        factor = self.factor.to(g)
        white = torch.linalg.solve_triangular(factor, g.T, upper=False)
        ratio = 0.5 * (g.square().sum(1) - white.square().sum(0)) - factor.diagonal().log().sum()
        return base + ratio.to(z)

    def moments(self) -> Moments:
        """Mean and covariance, where the marginals are all normal or all uniform.

        Over uniform marginals the correlation is 6/pi asin(R_ij / 2) (Spearman's).

        Raises:
            InputError: other marginals.
        """
        kinds = {type(marginal) for marginal, _ in self._groups}
        if kinds == {NormalMarginal}:
            correlation = self.correlation
        elif kinds == {UniformMarginal}:
            correlation = 6 / math.pi * torch.asin(self.correlation / 2)
        else:
            return super().moments()
        mean, scale = torch.empty_like(correlation[0]), torch.empty_like(correlation[0])
        for marginal, columns in self._groups:
            mean[columns], scale[columns] = _mean_and_scale(marginal)
        return Moments(mean, scale[:, None] * correlation * scale)

    @property
    def independent(self) -> bool:
        """Whether R has no entry off the diagonal."""
        return not bool(self.correlation.tril(-1).any())

    def marginals(self) -> list[Marginal]:
        """Return the base's marginals."""
        return self.base.marginals()


class Chain(Correlated):
    """Autoregressive chain: g_i = c_i g_{i-1} + sqrt(1 - c_i^2) e_i, z_i = F_i^-1(Phi(g_i)).

    R_ij is the product of the coefficients between i and j.

    Args:
        coefficient: c in (-1, 1), one number or one for each of the d - 1 steps.
        base: a prior with marginals; N(0, I) by default.
        dim: number of dimensions d; may be left out where a base gives it.

    Raises:
        InputError: a coefficient outside (-1, 1), neither base nor dim, or both and different.
    """

    def __init__(
        self, coefficient: float | Sequence[float], base: Prior | None = None, dim: int | None = None
    ) -> None:
        base = _base(base, dim)
        steps = _coefficients(coefficient, base.dim - 1)
        super().__init__(base, _tree(range(-1, base.dim - 1), torch.cat([steps.new_zeros(1), steps])))


class Tree(Correlated):
    """Tree: g_i = c_i g_parent(i) + sqrt(1 - c_i^2) e_i, z_i = F_i^-1(Phi(g_i)).

    R_ij is the product of the coefficients along the path between i and j, 0 between trees.

    Args:
        parents: for each dimension that of its parent, which comes before it; -1 for a root.
        coefficient: c in (-1, 1), one number or one a dimension (those of roots are not used).
        base: a prior with marginals; N(0, I) over len(parents) dimensions by default.

    Raises:
        InputError: a parent that does not come before its child, a coefficient outside (-1, 1), or a
            base of another dimension.
    """

    def __init__(
        self, parents: Sequence[int], coefficient: float | Sequence[float], base: Prior | None = None
    ) -> None:
        for i, parent in enumerate(parents):
            if isinstance(parent, bool) or not isinstance(parent, int) or not -1 <= parent < i:
                raise InputError(f"parents: {parent!r} received for dimension {i}; give -1 or one below {i}")
        if len(parents) == 0:
            raise InputError("parents: an empty list received; give one entry a dimension")
        base = _base(base, len(parents))
        super().__init__(base, _tree(parents, _coefficients(coefficient, base.dim)))


def _base(base: Prior | None, dim: int | None) -> Prior:
    if base is None:
        if dim is None:
            raise InputError("dim: missing; give dim or a base")
        return Gaussian(positive_int("dim", dim))
    if dim is not None and dim != base.dim:
        raise InputError(f"base: dim {base.dim} received; {dim} dimensions are asked for")
    return base


def _coefficients(value: object, count: int) -> Tensor:
    given = numbers("coefficient", value)
    coefficients = given.expand(count) if given.ndim == 0 else given
    if coefficients.shape != (count,):
        raise InputError(f"coefficient: shape {tuple(given.shape)} received; give one number or {count}")
    if not bool((given.abs() < 1).all()):
        raise InputError(f"coefficient: {value} received; every entry must lie between -1 and 1")
    return coefficients.double()


def _tree(parents: Sequence[int], coefficients: Tensor) -> Tensor:
    """Correlation matrix of the tree: a row is its parent's times the coefficient."""
    matrix = torch.eye(len(parents), dtype=torch.float64)
    for i, parent in enumerate(parents):
        if parent >= 0:
            matrix[i, :i] = coefficients[i] * matrix[parent, :i]
            matrix[:i, i] = matrix[i, :i]
    return matrix


def _square(correlation: object, dim: int) -> Tensor:
    matrix = numbers("correlation", correlation)
    if matrix.ndim > 0:
        return matrix
    return torch.full((dim, dim), float(matrix)).fill_diagonal_(1.0)


def _grouped(marginals: Sequence[Marginal]) -> list[tuple[Marginal, list[int]]]:
    """Collect the dimensions of equal marginals, which are then transformed in one call."""
    groups: list[tuple[Marginal, list[int]]] = []
    for i, marginal in enumerate(marginals):
        for other, columns in groups:
            if other == marginal:
                columns.append(i)
                break
        else:
            groups.append((marginal, [i]))
    return groups


def _from_normal(marginal: Marginal, g: Tensor) -> Tensor:
    """F^-1(Phi(g)), finite for every finite g."""
    if isinstance(marginal, NormalMarginal):
        return marginal.mean + marginal.scale * g
    u = torch.special.ndtr(g.double()).clamp(_SMALLEST, _LARGEST)
    largest = torch.finfo(g.dtype).max
    return marginal.quantile(u).clamp(-largest, largest).to(g)


def _to_normal(marginal: Marginal, z: Tensor) -> Tensor:
    """Phi^-1(F(z)), in float64."""
    exact = z.double()
    if isinstance(marginal, NormalMarginal):
        return (exact - marginal.mean) / marginal.scale
    return torch.special.ndtri(marginal.cdf(exact).clamp(_SMALLEST, _LARGEST))


def _mean_and_scale(marginal: Marginal) -> tuple[float, float]:
    if isinstance(marginal, NormalMarginal):
        return marginal.mean, marginal.scale
    assert isinstance(marginal, UniformMarginal)
    return (marginal.low + marginal.high) / 2, (marginal.high - marginal.low) / math.sqrt(12)
