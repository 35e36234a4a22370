"""Marginals seen through the frequencies of a one-dimensional RBF.

k(x, y) = exp(-(x - y)^2 / (2 l^2)) = sum_j w_j cos(w_j (x - y)), so phi(x) = (sqrt(w_j) cos, sqrt(w_j) sin)
are its features, and the mean of phi under a marginal is that marginal's characteristic function.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmdprior.kernels.quadrature import spectral_nodes, spectral_trapezoid
from mmdprior.priors import Marginal

__all__ = ["Spectrum", "spread"]

_TAIL = 1e-9
_T = TypeVar("_T")


class Spectrum:
    """Frequencies of an RBF and the mean features of d marginals, in float64 on the CPU.

    Args:
        marginals: one a dimension.
        lengthscale: l.
        count: that many frequencies by Gauss-Hermite quadrature, a kernel of its own; None takes as
            many as reach the accuracy over the marginals' range.
        accuracy: of the kernel, absolute, where codes lie within ``period / 2`` of the marginals' middle.

    Attributes:
        frequencies: (j,) positive ones; a frequency of zero adds a constant, kept as ``constant``.
        weights: (j,).
        means: (d, 2j) mean of (cos, sin) under each marginal, unweighted.
        middle, period: codes are told apart within the period; infinite under Gauss-Hermite.
    """

    def __init__(
        self,
        marginals: Sequence[Marginal],
        lengthscale: float,
        count: int | None = None,
        accuracy: float = 1e-9,
    ) -> None:
        low, high = spread(marginals)
        self.marginals = list(marginals)
        self.lengthscale = lengthscale
        self.middle = (low + high) / 2
        if count is not None:
            nodes, weights = spectral_nodes(count)
            self.period, self.constant = math.inf, 0.0
        else:
            reach = math.sqrt(-2 * math.log(accuracy))
            self.period = high - low + 2 * reach * lengthscale
            nodes, weights = spectral_trapezoid(self.period / lengthscale, reach)
            self.constant = float(weights[0])
            nodes, weights = nodes[1:], weights[1:]
        self.frequencies, self.weights = nodes / lengthscale, weights
        values = distinct(marginals, lambda m: m.characteristic(self.frequencies))
        self.means = torch.stack([torch.cat([v.real, v.imag]) for v in values])

    @staticmethod
    def size(marginals: Sequence[Marginal], lengthscale: float, accuracy: float = 1e-9) -> float:
        """Return how many frequencies that accuracy needs."""
        low, high = spread(marginals)
        reach = math.sqrt(-2 * math.log(accuracy))
        return reach * ((high - low) / lengthscale + 2 * reach) / (2 * math.pi)

    def mean(self, x: Tensor, dims: slice = slice(None)) -> Tensor:
        """Return E k(x_i, y_i) over each marginal's y, for the dimensions of the slice; shape of x.

        Beyond the period, where the kernel is zero to its accuracy, so is its mean.
        """
        weighted = (self.means * torch.cat([self.weights, self.weights]))[dims].to(x)
        angles = x[:, :, None] * self.frequencies.to(x)
        features = torch.cat([angles.cos(), angles.sin()], 2)
        mean = self.constant + torch.einsum("ndj,dj->nd", features, weighted)
        return torch.where((x - self.middle).abs() <= self.period / 2, mean, 0.0)

    def energies(self) -> Tensor:
        """Return (d,) E k(y, y'), both from one marginal."""
        squares = self.means.square().unflatten(1, (2, -1)).sum(1)
        return self.constant + squares @ self.weights

    def null_variances(self) -> Tensor:
        """Return (d,) E of the squared centred kernel under each marginal: the h of the ANOVA kernel.

        It is the squared norm of the features' covariance, whose entries are characteristic functions at
        sums and differences of frequencies.
        """
        w = self.frequencies
        grid = torch.stack([w[:, None] - w, w[:, None] + w])
        root = torch.cat([self.weights, self.weights]).sqrt()
        values = distinct(self.marginals, lambda m: _covariance(m.characteristic(grid)))
        seconds = torch.stack(values) - self.means[:, :, None] * self.means[:, None, :]
        return (seconds * root[:, None] * root).square().sum((1, 2))


def _covariance(characteristic: Tensor) -> Tensor:
    """Return second moments of (cos, sin) from the characteristic function at differences and sums."""
    difference, total = characteristic
    cos_cos = (difference.real + total.real) / 2
    sin_sin = (difference.real - total.real) / 2
    sin_cos = (difference.imag + total.imag) / 2
    return torch.cat([torch.cat([cos_cos, sin_cos.T], 1), torch.cat([sin_cos, sin_sin], 1)])


def spread(marginals: Sequence[Marginal]) -> tuple[float, float]:
    """Return the ends between which all but 1e-9 of every marginal's mass lies, on either side."""
    ends = torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64)
    quantiles = torch.stack(distinct(marginals, lambda m: m.quantile(ends)))
    return float(quantiles[:, 0].min()), float(quantiles[:, 1].max())


def distinct(marginals: Sequence[Marginal], function: Callable[[Marginal], _T]) -> list[_T]:
    """Apply a function to every marginal, once to equal ones."""
    known: dict[Any, _T] = {}
    results = []
    for marginal in marginals:
        try:
            hash(marginal)
            key: Any = marginal
        except TypeError:
            key = id(marginal)
        if key not in known:
            known[key] = function(marginal)
        results.append(known[key])
    return results
