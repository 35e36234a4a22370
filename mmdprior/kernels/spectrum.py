"""The one-dimensional RBF as a sum over frequencies, and the marginals of a prior seen through it.

    k(x, y) = exp(-(x - y)^2 / (2 l^2)) = sum_j w_j cos(omega_j (x - y)) = phi(x)' phi(y),
    phi(x) = (sqrt(w_j) cos(omega_j x), sqrt(w_j) sin(omega_j x))_j.

The mean of phi under a marginal consists of values of its characteristic function, so that every mean
over a marginal has a closed form.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.constants import Constant
from mmdprior.kernels.pairs import MAX_ENTRIES, checkpointed, sum_over_rows
from mmdprior.kernels.quadrature import gauss_hermite_frequencies, trapezoid_frequencies
from mmdprior.precision import full_precision
from mmdprior.priors import Marginal

__all__ = ["CentredFeatures", "Spectrum", "central_interval"]

_TAIL = 1e-9
"""Mass of a marginal outside its central interval, on either side."""
_T = TypeVar("_T")


class Spectrum:
    """Frequencies of a one-dimensional RBF, and the means of its features under d marginals.

    Args:
        marginals: d marginals, one per dimension.
        lengthscale: l.
        count: number of Gauss-Hermite frequencies, which give a kernel that only approximates the RBF.
            None, the default, uses as many equally spaced frequencies as ``accuracy`` needs over the range of
            the marginals.
        accuracy: absolute error of the kernel at codes within ``period / 2`` of the centre of the range.

    Attributes:
        frequencies: (j,) positive frequencies omega_j.
        weights: (j,) weights w_j.
        roots: (2j,) sqrt(w_j), once for the cosines and once for the sines.
        means: (d, 2j) means of (cos(omega_j y), sin(omega_j y)) under each marginal, without weights.
        weighted_means: (d, 2j) the same, multiplied by w_j.
        energies: (d,) E k(y, y') for two independent draws of each marginal.
        constant: weight of the frequency zero, which adds a constant to the kernel.
        centre: centre of the range of the marginals.
        period: distance after which the kernel repeats; infinite with Gauss-Hermite frequencies.

    Example:
        >>> from mmdprior.priors import Gaussian
        >>> spectrum = Spectrum(Gaussian(1).marginals(), lengthscale=1.0)
        >>> round(float(spectrum.energies.value), 6)  # (1 + 2 / l^2)^(-1/2)
        0.57735
    """

    def __init__(
        self,
        marginals: Sequence[Marginal],
        lengthscale: float,
        count: int | None = None,
        accuracy: float = 1e-9,
    ) -> None:
        low, high = central_interval(marginals)
        self.marginals = list(marginals)
        self.lengthscale = lengthscale
        self.centre = (low + high) / 2
        if count is not None:
            nodes, weights = gauss_hermite_frequencies(count)
            self.period, self.constant = math.inf, 0.0
        else:
            reach = _reach(accuracy)
            # Beyond a distance of reach * l the kernel is below the accuracy, so that the repetition does
            # no harm once the period exceeds the range by that much on both sides.
            self.period = high - low + 2 * reach * lengthscale
            nodes, weights = trapezoid_frequencies(self.period / lengthscale, reach)
            self.constant = float(weights[0])
            nodes, weights = nodes[1:], weights[1:]
        frequencies = nodes / lengthscale
        # E exp(i omega y) = E cos(omega y) + i E sin(omega y).
        values = _once_per_marginal(marginals, lambda m: m.characteristic(frequencies))
        means = torch.stack([torch.cat([v.real, v.imag]) for v in values])
        # E k(y, y') = |E phi(y)|^2 = sum_j w_j ((E cos)^2 + (E sin)^2).
        energies = self.constant + means.square().unflatten(1, (2, -1)).sum(1) @ weights
        twice = torch.cat([weights, weights])
        self.frequencies, self.weights = Constant(frequencies), Constant(weights)
        self.roots, self.means = Constant(twice.sqrt()), Constant(means)
        self.weighted_means, self.energies = Constant(means * twice), Constant(energies)

    @staticmethod
    def frequencies_needed(
        marginals: Sequence[Marginal], lengthscale: float, accuracy: float = 1e-9
    ) -> float:
        """Return how many equally spaced frequencies this accuracy needs: cutoff * period / (2 pi)."""
        low, high = central_interval(marginals)
        reach = _reach(accuracy)
        return reach * ((high - low) / lengthscale + 2 * reach) / (2 * math.pi)

    def mean(self, x: Float[Tensor, "n d"], dims: slice = slice(None)) -> Float[Tensor, "n d"]:
        """Return mu_i(x_i) = E k(x_i, y_i) over each marginal's y_i.

        Args:
            x: codes of the dimensions in ``dims``.
            dims: the dimensions; all by default.
        """
        # mu(x) = sum_j w_j (cos(omega_j x) E cos(omega_j y) + sin(omega_j x) E sin(omega_j y)).
        angles = x[:, :, None] * self.frequencies.like(x)
        features = torch.cat([angles.cos(), angles.sin()], 2)
        mean = self.constant + torch.einsum("ndj,dj->nd", features, self.weighted_means.like(x)[dims])
        # The sum repeats, while the RBF is zero that far from every draw, to the accuracy.
        return torch.where((x - self.centre).abs() <= self.period / 2, mean, 0.0)

    def null_variances(self) -> Float[Tensor, "d"]:
        """Return h_i = E kt_i(y, y')^2, the mean square of the kernel centred by each marginal.

        With kt = (phi - E phi)' (phi' - E phi'), h is the squared Frobenius norm of Cov(phi). The entries
        of that covariance are values of the characteristic function at sums and differences of frequencies.
        """
        w = self.frequencies.value
        grid = torch.stack([w[:, None] - w, w[:, None] + w])
        seconds = _once_per_marginal(self.marginals, lambda m: _second_moments(m.characteristic(grid)))
        means, roots = self.means.value, self.roots.value
        covariances = torch.stack(seconds) - means[:, :, None] * means[:, None, :]
        return (covariances * roots[:, None] * roots).square().sum((1, 2))


def central_interval(marginals: Sequence[Marginal]) -> tuple[float, float]:
    """Return an interval that holds all but 1e-9 of the mass of every marginal on either side."""
    tails = torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64)
    quantiles = torch.stack(_once_per_marginal(marginals, lambda m: m.quantile(tails)))
    return float(quantiles[:, 0].min()), float(quantiles[:, 1].max())


def _reach(accuracy: float) -> float:
    """Return r with exp(-r^2 / 2) = accuracy."""
    return math.sqrt(-2 * math.log(accuracy))


def _second_moments(characteristic: Tensor) -> Tensor:
    """Return E (cos, sin)(cos, sin)' from the characteristic function at differences and sums a -+ b.

    cos a cos b = (cos(a - b) + cos(a + b)) / 2, sin a sin b = (cos(a - b) - cos(a + b)) / 2 and
    sin a cos b = (sin(a - b) + sin(a + b)) / 2.
    """
    difference, total = characteristic
    cos_cos = (difference.real + total.real) / 2
    sin_sin = (difference.real - total.real) / 2
    sin_cos = (difference.imag + total.imag) / 2
    return torch.cat([torch.cat([cos_cos, sin_cos.T], 1), torch.cat([sin_cos, sin_sin], 1)])


def _once_per_marginal(marginals: Sequence[Marginal], function: Callable[[Marginal], _T]) -> list[_T]:
    """Apply a function to every marginal, but only once to equal ones."""
    results: dict[Any, _T] = {}
    keys: list[Any] = []
    for marginal in marginals:
        try:
            hash(marginal)
            keys.append(marginal)
        except TypeError:
            keys.append(id(marginal))
        if keys[-1] not in results:
            results[keys[-1]] = function(marginal)
    return [results[key] for key in keys]


class CentredFeatures:
    """Centred features psi_i(x_i) = phi_i(x_i) - E phi_i, so that kt_i(x, y) = psi_i(x_i)' psi_i(y_i).

    With them, sums of K_1 = sum_i kt_i and K_2 = sum_{i<j} kt_i kt_j over all pairs of rows take time
    linear in the number of rows: with F the (n, d m) matrix of the features of x, G that of y, and
    F_i, G_i their m columns of dimension i,

        sum_ab K_1 = (sum_a F_a)' (sum_b G_b)
        sum_ab K_2 = (sum_ab (sum_i kt_i)^2 - sum_ab sum_i kt_i^2) / 2
        sum_ab (sum_i kt_i)^2 = |F G'|^2 = <F'F, G'G>
        sum_ab sum_i kt_i^2 = sum_i <F_i'F_i, G_i'G_i>

    Args:
        spectrum: frequencies, weights and the means of the features.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d m"]:
        """Return psi_i(x_i) of every dimension."""
        angles = x[:, :, None] * self.spectrum.frequencies.like(x)
        means, roots = self.spectrum.means.like(x), self.spectrum.roots.like(x)
        return (torch.cat([angles.cos(), angles.sin()], 2) - means) * roots

    def sums_within(self, x: Float[Tensor, "n d"], *, pairs: bool, diagonal: bool) -> list[Float[Tensor, ""]]:
        """Sum K_1, and K_2 if ``pairs``, over the pairs of rows of one sample.

        Args:
            x: the sample.
            pairs: whether to compute K_2.
            diagonal: whether to include the pairs of a row with itself.
        """
        with full_precision(x.device.type):
            total, diagonals = self._row_sums(x, pairs)
            linear = total.square().sum()
            if not pairs:
                return [linear if diagonal else linear - diagonals[0]]
            squared_sum, sum_of_squares = self._square_sums(x, x)
            if diagonal:
                return [linear, (squared_sum - sum_of_squares) / 2]
            return [
                linear - diagonals[0],
                (squared_sum - diagonals[1] - (sum_of_squares - diagonals[2])) / 2,
            ]

    def sums_across(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, pairs: bool
    ) -> list[Float[Tensor, ""]]:
        """Sum K_1, and K_2 if ``pairs``, over all pairs of a row of x and a row of y."""
        with full_precision(x.device.type):
            linear = (self._row_sums(x, False)[0] * self._row_sums(y, False)[0]).sum()
            if not pairs:
                return [linear]
            squared_sum, sum_of_squares = self._square_sums(x, y)
            return [linear, (squared_sum - sum_of_squares) / 2]

    def _row_sums(self, x: Tensor, pairs: bool) -> tuple[Tensor, Tensor]:
        """Return sum_a psi(a), and the diagonal's share of the three sums over pairs.

        With s_i = kt_i(a, a) = |psi_i(a)|^2 these are sum_a sum_i s_i for K_1 and, if ``pairs``,
        sum_a (sum_i s_i)^2 and sum_a sum_i s_i^2 for the two parts of K_2.
        """

        def sums(rows: Tensor) -> Tensor:
            features = self(rows)
            s = features.square().sum(2)
            total = s.sum(1)
            diagonals = [total.sum(), *([total.square().sum(), s.square().sum()] if pairs else [])]
            return torch.cat([features.sum(0).flatten(), torch.stack(diagonals)])

        result = self._sum_over_rows(sums, x)
        width = x.shape[1] * self._width
        return result[:width], result[width:]

    def _square_sums(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return sum_ab (sum_i kt_i)^2 and sum_ab sum_i kt_i^2, by the smaller of F'F and F G'."""
        dim = x.shape[1]
        width = dim * self._width
        # An exported graph holds one of the two forms: the one whose cost does not depend on the rows.
        if torch.compiler.is_exporting() or 2 * width < x.shape[0] + y.shape[0]:
            first = self._sum_over_rows(self._gram_of_features, x)
            second = first if x is y else self._sum_over_rows(self._gram_of_features, y)
            products = (first * second).view(dim, self._width, dim, self._width)
            return products.sum(), products.diagonal(dim1=0, dim2=2).sum()
        first = self._sum_over_rows(self._gram_per_dimension, x)
        second = first if x is y else self._sum_over_rows(self._gram_per_dimension, y)
        return self._squared_norm_of_rows(x, y), (first * second).sum()

    def _gram_of_features(self, rows: Tensor) -> Tensor:
        """Return F'F, (d m, d m)."""
        features = self(rows).flatten(1)
        return features.T @ features

    def _gram_per_dimension(self, rows: Tensor) -> Tensor:
        """Return F_i'F_i of every dimension, (d, m, m)."""
        features = self(rows).transpose(0, 1)
        return features.transpose(1, 2) @ features

    def _squared_norm_of_rows(self, x: Tensor, y: Tensor) -> Tensor:
        """Return |F G'|^2, block by block."""

        def squared_norm(rows: Tensor, columns: Tensor) -> Tensor:
            first = self(rows).flatten(1)
            second = first if columns is rows else self(columns).flatten(1)
            return (first @ second.T).square().sum()

        size = self._block_rows(x)
        if x.shape[0] <= size and y.shape[0] <= size:
            return squared_norm(x, y)
        total = x.new_zeros(())
        for rows in x.split(size):
            for columns in y.split(size):
                total = total + checkpointed(squared_norm, rows, columns)
        return total

    def _sum_over_rows(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Sum a function of rows, in blocks whose features are small enough to be held at once."""
        size = self._block_rows(x)
        return function(x) if x.shape[0] <= size else sum_over_rows(function, x, size)

    def _block_rows(self, x: Tensor) -> int:
        return max(1, MAX_ENTRIES // (x.shape[1] * self._width))

    @property
    def _width(self) -> int:
        """Number of features per dimension, m."""
        return 2 * len(self.spectrum.frequencies.value)
