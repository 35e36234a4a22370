"""Marginals seen through the frequencies of a one-dimensional RBF.

k(x, y) = exp(-(x - y)^2 / (2 l^2)) = sum_j w_j cos(w_j (x - y)), so phi(x) = (sqrt(w_j) cos, sqrt(w_j) sin)
are its features, and the mean of phi under a marginal is that marginal's characteristic function.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.pairs import BLOCK, recomputed, sum_over
from mmdprior.kernels.quadrature import spectral_nodes, spectral_trapezoid
from mmdprior.precision import full_precision
from mmdprior.priors import Marginal

__all__ = ["CentredFeatures", "Spectrum", "spread"]

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


class CentredFeatures:
    """Features phi_i(x_i) - E phi_i of every dimension, so that kt_i(x, y) = phi_i(x_i)' phi_i(y_i).

    Args:
        spectrum: frequencies, weights and the marginals' mean features.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d m"]:
        """Evaluate the features."""
        root = self.spectrum.weights.sqrt().to(x)
        angles = x[:, :, None] * self.spectrum.frequencies.to(x)
        means = self.spectrum.means.to(x)
        return (torch.cat([angles.cos(), angles.sin()], 2) - means) * torch.cat([root, root])

    def sums_within(self, x: Float[Tensor, "n d"], *, pairs: bool, diagonal: bool) -> list[Float[Tensor, ""]]:
        """Sum K_1, and K_2 if pairs, over the pairs of one sample, or over pairs of different rows."""
        with full_precision(x.device.type):
            sums, own = self._moments(x, pairs)
            linear = sums.square().sum()
            if not pairs:
                return [linear if diagonal else linear - own[0]]
            block, blocks = self._squares(x, x)
            if diagonal:
                return [linear, (block - blocks) / 2]
            return [linear - own[0], (block - own[1] - (blocks - own[2])) / 2]

    def sums_across(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, pairs: bool
    ) -> list[Float[Tensor, ""]]:
        """Sum K_1, and K_2 if pairs, over all pairs of a row of x and a row of y."""
        with full_precision(x.device.type):
            linear = (self._moments(x, False)[0] * self._moments(y, False)[0]).sum()
            if not pairs:
                return [linear]
            block, blocks = self._squares(x, y)
            return [linear, (block - blocks) / 2]

    def _moments(self, x: Tensor, pairs: bool) -> tuple[Tensor, Tensor]:
        """Return sum_a phi(a) and sums over a of s, s^2 and sum_i s_i^2, where s_i = |phi_i(a)|^2."""

        def of(rows: Tensor) -> Tensor:
            features = self(rows)
            own = features.square().sum(2)
            total = own.sum(1)
            lengths = [total.sum(), *([total.square().sum(), own.square().sum()] if pairs else [])]
            return torch.cat([features.sum(0).flatten(), torch.stack(lengths)])

        result = self._over_rows(of, x)
        width = x.shape[1] * self._width
        return result[:width], result[width:]

    def _squares(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return sum_ab (sum_i kt_i)^2 and sum_ab sum_i kt_i^2, by the cheaper of two Gram matrices."""
        dim = x.shape[1]
        width = dim * self._width
        if 2 * width < len(x) + len(y):
            first = self._over_rows(self._outer, x)
            second = first if x is y else self._over_rows(self._outer, y)
            both = (first * second).view(dim, self._width, dim, self._width)
            return both.sum(), both.diagonal(dim1=0, dim2=2).sum()
        own = self._over_rows(self._own_outer, x)
        others = own if x is y else self._over_rows(self._own_outer, y)
        return self._gram(x, y), (own * others).sum()

    def _outer(self, rows: Tensor) -> Tensor:
        features = self(rows).flatten(1)
        return features.T @ features

    def _own_outer(self, rows: Tensor) -> Tensor:
        features = self(rows).transpose(0, 1)
        return features.transpose(1, 2) @ features

    def _gram(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the squared norm of F_x F_y'."""

        def squared(rows: Tensor, others: Tensor) -> Tensor:
            first = self(rows).flatten(1)
            second = first if others is rows else self(others).flatten(1)
            return (first @ second.T).square().sum()

        size = max(1, BLOCK // (x.shape[1] * self._width))
        if len(x) <= size and len(y) <= size:
            return squared(x, y)
        total = x.new_zeros(())
        for rows in x.split(size):
            for others in y.split(size):
                total = total + recomputed(squared, rows, others)
        return total

    def _over_rows(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Add a function of rows over blocks of them."""
        size = max(1, BLOCK // (x.shape[1] * self._width))
        if len(x) <= size:
            return function(x)
        total: Tensor = sum_over(function, x, size)
        return total

    @property
    def _width(self) -> int:
        return 2 * len(self.spectrum.frequencies)
