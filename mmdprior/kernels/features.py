"""Averages of centred one-dimensional kernels and of their pairs, linear in the number of codes."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.kernel import full_precision
from mmdprior.kernels.pairs import BLOCK, recomputed, sum_over
from mmdprior.kernels.spectrum import Spectrum

__all__ = ["CentredFeatures"]


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
