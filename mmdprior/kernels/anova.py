"""The ANOVA kernel: dependence between few dimensions at a time, seen at any number of them."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.pairs import BLOCK, recomputed
from mmdprior.kernels.spectrum import CentredFeatures, Spectrum, spread
from mmdprior.precision import full_precision
from mmdprior.priors import Marginal, Prior
from mmdprior.priors.marginals import NormalMarginal

__all__ = ["ANOVA"]

_MOST_FEATURES = 64
_ACCURACY = 1e-6
_EXACT = 1e-9
_MOST_FREQUENCIES = 4096
_SHARES = {1: (1.0,), 2: (0.1, 0.9), 3: (0.1, 0.6, 0.3)}


class ANOVA(Kernel):
    """Sums over single dimensions, pairs and triples of per-dimension RBFs centred by the prior's marginals.

    Centred, kt_i(x, y) = k(x_i, y_i) - mu_i(x_i) - mu_i(y_i) + c_i, and k = sum_r w_r K_r with K_r the
    elementary symmetric polynomials of the kt_i: K_1 sees each marginal, K_2 every dependent pair as much as
    d(d-1)/2 pairs allow, K_3 triples. The MMD is then a sum of pairwise HSICs with known marginals. Centring
    makes the cross and self terms of an independent prior vanish, so no prior draws are needed; for
    another prior the kernel, centred by its marginals, serves the two-sample estimators. A joint kernel, by
    contrast, is blind to one dependent pair at d = 128 (`mmdprior.regularizers.power` tells what is seen).

    Averages of orders 1 and 2 are linear in n: with m features phi_i of each dimension, sum_ab K_2 is half
    of |F F'|^2 - sum_i |F_i' F_i|^2, F the (n, dm) features, by whichever of F F' and F' F is smaller. There
    k is a sum over equally spaced frequencies, true to 1e-6 and repeating after `period`; where that takes
    more than 64 of them, and for order 3, pairs are evaluated one by one.

    Args:
        order: 1 to 3; at most d is used.
        lengthscale: l of each k = exp(-r^2 / (2 l^2)), in units of the codes.
        weights: one a positive number an order. By default the null variance of the penalty is shared 10%
            to 90% between K_1 and K_2 (10, 60, 30 with triples), scaled so that w_2 = 1.
        frequencies: use that many Gauss-Hermite frequencies a dimension in place of the RBF: a valid kernel
            of its own, coarser and several times cheaper. It is not periodic, but few frequencies tell far
            codes apart badly; keep a joint kernel beside it.

    Raises:
        InputError: an order out of range, a number that is not positive, or weights that do not match.
    """

    def __init__(
        self,
        order: int = 2,
        lengthscale: float = 1.0,
        weights: Sequence[float] | None = None,
        frequencies: int | None = None,
    ) -> None:
        super().__init__()
        if order not in _SHARES:
            raise InputError(f"order: {order} received; give 1, 2 or 3")
        if not 1e-6 <= lengthscale <= 1e6:
            raise InputError(f"lengthscale: {lengthscale} received; give a number from 1e-6 to 1e6")
        if weights is not None and (len(weights) != order or not all(0 < w < math.inf for w in weights)):
            raise InputError(f"weights: {weights} received; give {order} positive numbers, one an order")
        if frequencies is not None and not 1 <= frequencies <= _MOST_FEATURES:
            raise InputError(f"frequencies: {frequencies} received; give 1 to {_MOST_FEATURES}")
        self.order = order
        self.lengthscale = float(lengthscale)
        self.weights = None if weights is None else [float(w) for w in weights]
        self.frequencies = frequencies
        self.part_names = tuple(f"order_{r}" for r in range(1, order + 1))
        self._prior: Prior | None = None
        self._pairwise: Spectrum | None = None
        self._features: CentredFeatures | None = None

    def bind(self, prior: Prior) -> "ANOVA":
        """Centre by the marginals of a prior, or by normal ones of its mean and variance.

        Raises:
            InputError: a prior of which neither is known.
        """
        bound = self._centred(_marginals(prior))
        bound._prior = prior
        return bound

    def centred_by(self, prior: Prior) -> bool:
        """Whether the kernel's averages over this prior vanish: it was bound and is independent."""
        return self._prior is prior and prior.independent

    @property
    def period(self) -> float:
        """Distance at which averages begin to repeat; infinite where pairs are evaluated."""
        return math.inf if self._features is None else self._features.spectrum.period

    def null_variance(self) -> float:
        """Return E k(y, y')^2 over independent draws from the product of the marginals.

        It is sum_r w_r^2 e_r(h), e_r the elementary symmetric polynomials of the h_i = E kt_i^2.
        """
        bound = self._bound(None)
        squares = [w**2 * e for w, e in zip(bound.part_weights, bound._orders(), strict=True)]
        return math.fsum(squares)

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate the weighted sum over orders."""
        bound = self._bound(x.shape[1])
        weights = torch.tensor(bound.part_weights, dtype=x.dtype, device=x.device)
        return torch.einsum("p,pnm->nm", weights, bound.parts(x, y))

    def parts(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p n m"]:
        """Evaluate every order on every pair, a few dimensions at a time."""
        bound = self._bound(x.shape[1])
        size = max(1, BLOCK // max(1, len(x) * len(y)))
        sums = x.new_zeros(self.order, len(x), len(y))
        for start in range(0, x.shape[1], size):
            dims = slice(start, start + size)
            sums = sums + recomputed(bound._power_sums(dims), x[:, dims], y[:, dims])
        return torch.stack(_elementary(list(sums)))

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Average every order over the pairs of one sample."""
        bound = self._bound(x.shape[1])
        if bound._features is None or len(x) < 2:
            return super(ANOVA, bound).means_within(x, unbiased=unbiased)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        count = len(x) * (len(x) - 1) if unbiased else len(x) ** 2
        sums = bound._features.sums_within(x, pairs=self.order > 1, diagonal=not unbiased)
        return torch.stack(sums) / count

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Average every order over all pairs of a row of x and a row of y."""
        bound = self._bound(x.shape[1])
        if bound._features is None:
            return super(ANOVA, bound).means_across(x, y)
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        sums = bound._features.sums_across(x.to(dtype), y.to(dtype), pairs=self.order > 1)
        return torch.stack(sums) / (len(x) * len(y))

    def _centred(self, marginals: Sequence[Marginal]) -> "ANOVA":
        bound = copy.copy(self)
        length, count = self.lengthscale, self.frequencies
        if count is None and Spectrum.size(marginals, length, _EXACT) > _MOST_FREQUENCIES:
            low, high = spread(marginals)
            raise InputError(
                f"lengthscale: {length:g} received; too short for marginals that spread from {low:.3g} to "
                f"{high:.3g}; give a longer one, or frequencies"
            )
        bound._pairwise = Spectrum(marginals, length, count, _EXACT)
        if self.order <= 2 and (
            count is not None or Spectrum.size(marginals, length, _ACCURACY) <= _MOST_FEATURES
        ):
            bound._features = CentredFeatures(Spectrum(marginals, length, count, _ACCURACY))
        bound.part_weights = tuple(self.weights or bound._default_weights())
        return bound

    def _bound(self, dim: int | None) -> "ANOVA":
        """Return the kernel itself if it is centred, else one centred by N(0, 1)."""
        if self._pairwise is not None:
            if dim is not None and len(self._pairwise.marginals) != dim:
                raise InputError(
                    f"codes: {dim} dimensions received; the kernel was bound to a prior of "
                    f"{len(self._pairwise.marginals)}"
                )
            return self
        if dim is None:
            raise InputError("kernel: not bound to a prior; call kernel.bind(prior) first")
        warnings.warn("ANOVA is not bound to a prior: centred by N(0, 1)", stacklevel=3)
        return self._centred([NormalMarginal(0.0, 1.0)] * dim)

    def _power_sums(self, dims: slice) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function that sums powers 1 to `order` of the centred kernels of some dimensions."""
        spectrum = self._pairwise
        assert spectrum is not None
        energies = spectrum.energies()[dims]

        def sums(x: Tensor, y: Tensor) -> Tensor:
            with full_precision(x.device.type):
                difference = x.T[:, :, None] - y.T[:, None, :]
                kernel = self._one_dimensional(difference, spectrum)
                means = spectrum.mean(x, dims).T[:, :, None] + spectrum.mean(y, dims).T[:, None, :]
                centred = kernel - means + energies.to(x)[:, None, None]
                return torch.stack([(centred**power).sum(0) for power in range(1, self.order + 1)])

        return sums

    def _one_dimensional(self, difference: Tensor, spectrum: Spectrum) -> Tensor:
        if self.frequencies is None:
            return torch.exp(difference.square() * (-0.5 / self.lengthscale**2))
        total = torch.zeros_like(difference)
        for frequency, weight in zip(spectrum.frequencies.tolist(), spectrum.weights.tolist(), strict=True):
            total = total + weight * torch.cos(frequency * difference)
        return total

    def _orders(self) -> list[float]:
        """Return e_1(h), ..., e_order(h)."""
        spectrum = self._pairwise if self._features is None else self._features.spectrum
        assert spectrum is not None
        h = spectrum.null_variances()
        return [float(e) for e in _elementary([(h**r).sum() for r in range(1, self.order + 1)])]

    def _default_weights(self) -> list[float]:
        """Share the null variance between orders; an order that this many dimensions lack has weight 1."""
        orders, shares = self._orders(), _SHARES[self.order]
        main = min(2, self.order) - 1
        unit = orders[main] / shares[main]
        return [
            math.sqrt(share * unit / e) if e > 1e-12 and unit > 0 else 1.0
            for share, e in zip(shares, orders, strict=True)
        ]

    def extra_repr(self) -> str:
        """Show the settings and what the kernel is centred by."""
        by = "N(0, 1), unbound" if self._prior is None else type(self._prior).__name__
        few = "" if self.frequencies is None else f", frequencies={self.frequencies}"
        return f"order={self.order}, lengthscale={self.lengthscale:g}{few}, centred by {by}"


def _marginals(prior: Prior) -> list[Marginal]:
    """Return a prior's marginals; where it does not know them, normal ones of its moments."""
    try:
        return prior.marginals()
    except InputError:
        moments = prior.moments()
    scales = moments.covariance.diagonal().sqrt()
    if not bool((scales > 0).all()):
        raise InputError(f"kernel: {type(prior).__name__} has a dimension of no variance; ANOVA needs some")
    return [NormalMarginal(m, s) for m, s in zip(moments.mean.tolist(), scales.tolist(), strict=True)]


def _elementary(powers: list[Tensor]) -> list[Tensor]:
    """Return elementary symmetric polynomials from power sums, by Newton's identities, up to order 3."""
    result = powers[:1]
    if len(powers) > 1:
        result.append((powers[0] ** 2 - powers[1]) / 2)
    if len(powers) > 2:
        result.append((powers[0] ** 3 - 3 * powers[0] * powers[1] + 2 * powers[2]) / 6)
    return result
