"""Priors with dependent dimensions and any marginals: Gaussian copulas."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import full_matmul
from mmdprior.priors.arguments import positive_int, to_tensor
from mmdprior.priors.gaussian import Gaussian, cholesky_factor, covariance_matrix
from mmdprior.priors.marginals import NormalMarginal, UniformMarginal, group_equal
from mmdprior.priors.prior import Marginal, Moments, Prior
from mmdprior.priors.snapshot import Derived
from mmdprior.priors.special import normal_cdf

__all__ = ["Chain", "Correlated", "Tree"]

_SMALLEST_PROBABILITY, _LARGEST_PROBABILITY = 1e-300, 1 - 2.0**-53
"""Range of float64 probabilities whose quantiles are finite for unbounded marginals."""


class Correlated(Prior):
    """Gaussian copula over the marginals of any prior: z_i = F_i^-1(Phi(g_i)) with g ~ N(0, R).

    The marginals are exactly those F_i of the base. The rank correlations follow from R: Kendall's tau of
    dimensions i and j is 2/pi asin(R_ij). For normal marginals R is the correlation matrix itself.

    Args:
        base: prior with marginals; dependence between its dimensions is ignored.
        correlation: R, one number for all pairs, or a (d, d) matrix with ones on its diagonal.

    Raises:
        InputError: the base has no marginals, or the matrix is not (d, d), not symmetric, not positive
            definite or without ones on its diagonal.

    Example:
        >>> from mmdprior.priors import Correlated, Uniform
        >>> prior = Correlated(Uniform(3), correlation=0.7)
        >>> draws = prior.sample(10)
        >>> draws.shape, bool((draws.abs() <= 1).all())
        (torch.Size([10, 3]), True)
        >>> round(float(prior.moments().covariance[0, 1]) * 3, 4)  # Spearman's rank correlation
        0.6829
    """

    _former_buffers = ("factor",)

    def __init__(self, base: Prior, correlation: float | Sequence[Sequence[float]] | Tensor) -> None:
        super().__init__(base.dim)
        matrix = covariance_matrix("correlation", _square(correlation, base.dim))
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
        self.correlation: Tensor
        self._factor = Derived(partial(cholesky_factor, "correlation"))
        self._marginal_groups = Derived(_grouped_marginals)
        self._marginal_groups.of(base)  # raises now if the base has no marginals

    @property
    def factor(self) -> Float[Tensor, "d d"]:
        """The lower Cholesky factor of the correlation matrix."""
        return self._factor.of(self.correlation).to(self.correlation)

    @property
    def _groups(self) -> list[tuple[Marginal, list[int]]]:
        """Each distinct marginal of the base with its dimensions."""
        return self._marginal_groups.of(self.base)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "{n} {self.dim}"]:
        """Draw n points."""
        g = full_matmul(self._normal((n, self.dim), generator), self.factor.T)
        z = torch.empty_like(g)
        for marginal, columns in self._groups:
            z[:, columns] = _from_normal(marginal, g[:, columns])
        return z

    def log_prob(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Return the log-density in nats of each row of z.

        It is that of the independent base plus that of the copula, log N(g; 0, R) - log N(g; 0, I).

        Raises:
            InputError: the base has no density, or its dimensions are dependent.
        """
        if not self.base.independent:
            raise InputError(f"{self._name} over {self.base._name} has no log_prob; use an independent base")
        base = self.base.log_prob(z)
        # Columns are transformed group by group, then put back in the order of the dimensions.
        order = torch.cat([torch.as_tensor(columns) for _, columns in self._groups])
        normal = torch.cat([_to_normal(marginal, z[:, columns]) for marginal, columns in self._groups], 1)
        g = normal[:, order.argsort().to(z.device)]
        factor = self.factor.to(g)
        white = torch.linalg.solve_triangular(factor, g.T, upper=False)
        # With R = L L': (|g|^2 - |L^-1 g|^2) / 2 - log |L|.
        ratio = 0.5 * (g.square().sum(1) - white.square().sum(0)) - factor.diagonal().log().sum()
        return base + ratio.to(z)

    def moments(self) -> Moments:
        """Return mean and covariance, known where the marginals are all normal or all uniform.

        For uniform marginals the correlation is Spearman's rank correlation, 6/pi asin(R_ij / 2).

        Raises:
            InputError: the marginals are of another family, or of several.
        """
        families = {type(marginal) for marginal, _ in self._groups}
        if families == {NormalMarginal}:
            correlation = self.correlation
        elif families == {UniformMarginal}:
            correlation = 6 / math.pi * torch.asin(self.correlation / 2)
        else:
            return super().moments()
        mean, scale = torch.empty_like(correlation[0]), torch.empty_like(correlation[0])
        for marginal, columns in self._groups:
            mean[columns], scale[columns] = _mean_and_scale(marginal)
        return Moments(mean, scale[:, None] * correlation * scale)

    @property
    def independent(self) -> bool:
        """Whether R is the identity."""
        return not bool(self.correlation.tril(-1).any())

    def marginals(self) -> list[Marginal]:
        """Return the marginals of the base."""
        return self.base.marginals()


class Chain(Correlated):
    """Autoregressive chain: g_i = c_i g_{i-1} + sqrt(1 - c_i^2) e_i, z_i = F_i^-1(Phi(g_i)), e_i ~ N(0, 1).

    R_ij is the product of the coefficients between i and j.

    Args:
        coefficient: c in (-1, 1), one number, or one for each of the d - 1 steps.
        base: prior with marginals F_i; N(0, I) by default.
        dim: number of dimensions d; not needed with a base.

    Raises:
        InputError: a coefficient is outside (-1, 1), or base and dim are both missing or disagree.

    Example:
        >>> from mmdprior.priors import Chain
        >>> prior = Chain(0.5, dim=3)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.correlation.tolist()
        [[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]
    """

    def __init__(
        self, coefficient: float | Sequence[float], base: Prior | None = None, dim: int | None = None
    ) -> None:
        base = _base_or_gaussian(base, dim)
        steps = _coefficients(coefficient, base.dim - 1)
        # A chain is the tree in which dimension i - 1 is the parent of i.
        chain = _tree_correlation(range(-1, base.dim - 1), torch.cat([steps.new_zeros(1), steps]))
        super().__init__(base, chain)


class Tree(Correlated):
    """Tree: g_i = c_i g_parent(i) + sqrt(1 - c_i^2) e_i, z_i = F_i^-1(Phi(g_i)), e_i ~ N(0, 1).

    R_ij is the product of the coefficients along the path between i and j, and 0 between separate trees.

    Args:
        parents: parent of each dimension, a smaller dimension, or -1 for a root.
        coefficient: c in (-1, 1), one number or one per dimension; those of roots are not used.
        base: prior with marginals F_i; N(0, I) over len(parents) dimensions by default.

    Raises:
        InputError: a parent is not smaller than its child, a coefficient is outside (-1, 1), or the base has
            another dimension.

    Example:
        >>> from mmdprior.priors import Tree
        >>> prior = Tree([-1, 0, 0], 0.5)
        >>> prior.sample(10).shape
        torch.Size([10, 3])
        >>> prior.correlation[1].tolist()
        [0.5, 1.0, 0.25]
    """

    def __init__(
        self, parents: Sequence[int], coefficient: float | Sequence[float], base: Prior | None = None
    ) -> None:
        for i, parent in enumerate(parents):
            if isinstance(parent, bool) or not isinstance(parent, int) or not -1 <= parent < i:
                raise InputError(f"parents: {parent!r} received for dimension {i}; give -1 or one below {i}")
        if len(parents) == 0:
            raise InputError("parents: an empty list received; give one entry per dimension")
        base = _base_or_gaussian(base, len(parents))
        super().__init__(base, _tree_correlation(parents, _coefficients(coefficient, base.dim)))


def _base_or_gaussian(base: Prior | None, dim: int | None) -> Prior:
    """Return the base after checking its dimension, or N(0, I) without a base."""
    if base is None:
        if dim is None:
            raise InputError("dim: missing; give dim or a base")
        return Gaussian(positive_int("dim", dim))
    if dim is not None and dim != base.dim:
        raise InputError(f"base: dim {base.dim} received; expected {dim}")
    return base


def _coefficients(value: object, count: int) -> Tensor:
    """Return count coefficients in (-1, 1), in float64."""
    values = to_tensor("coefficient", value)
    coefficients = values.expand(count) if values.ndim == 0 else values
    if coefficients.shape != (count,):
        raise InputError(f"coefficient: shape {tuple(values.shape)} received; give one number or {count}")
    if not bool((values.abs() < 1).all()):
        raise InputError(f"coefficient: {value} received; every entry must be between -1 and 1, exclusive")
    return coefficients.double()


def _tree_correlation(parents: Sequence[int], coefficients: Tensor) -> Tensor:
    """Return the correlation matrix of a tree: R_ij = c_i R_parent(i),j for j < i."""
    matrix = torch.eye(len(parents), dtype=torch.float64)
    for i, parent in enumerate(parents):
        if parent >= 0:
            matrix[i, :i] = coefficients[i] * matrix[parent, :i]
            matrix[:i, i] = matrix[i, :i]
    return matrix


def _square(correlation: object, dim: int) -> Tensor:
    """Return a matrix as it is, or the matrix with one number off its diagonal of ones."""
    matrix = to_tensor("correlation", correlation)
    if matrix.ndim > 0:
        return matrix
    return torch.full((dim, dim), float(matrix)).fill_diagonal_(1.0)


def _grouped_marginals(base: Prior) -> list[tuple[Marginal, list[int]]]:
    return group_equal(base.marginals())


def _from_normal(marginal: Marginal, g: Tensor) -> Tensor:
    """Return F^-1(Phi(g)), finite for every finite g."""
    if isinstance(marginal, NormalMarginal):
        return marginal.mean + marginal.scale * g
    u = normal_cdf(g.double()).clamp(_SMALLEST_PROBABILITY, _LARGEST_PROBABILITY)
    largest = torch.finfo(g.dtype).max
    return marginal.quantile(u).clamp(-largest, largest).to(g)


def _to_normal(marginal: Marginal, z: Tensor) -> Tensor:
    """Return Phi^-1(F(z)) in float64."""
    z64 = z.double()
    if isinstance(marginal, NormalMarginal):
        return (z64 - marginal.mean) / marginal.scale
    return torch.special.ndtri(marginal.cdf(z64).clamp(_SMALLEST_PROBABILITY, _LARGEST_PROBABILITY))


def _mean_and_scale(marginal: Marginal) -> tuple[float, float]:
    """Return mean and standard deviation of a normal or uniform marginal."""
    if isinstance(marginal, NormalMarginal):
        return marginal.mean, marginal.scale
    assert isinstance(marginal, UniformMarginal)
    return (marginal.low + marginal.high) / 2, (marginal.high - marginal.low) / math.sqrt(12)
