"""The ANOVA kernel: sees dependence between few dimensions however many dimensions there are."""

import math
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.constants import Constant
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.pairs import MAX_ENTRIES, checkpointed
from mmdprior.kernels.spectrum import CentredFeatures, Spectrum, central_interval
from mmdprior.precision import full_precision
from mmdprior.priors import Marginal, Prior
from mmdprior.priors.arguments import is_number, positive_int, positive_numbers
from mmdprior.priors.marginals import NormalMarginal
from mmdprior.priors.snapshot import Snapshot

__all__ = ["ANOVA"]

_MAX_FEATURE_FREQUENCIES = 64
"""Above this number of frequencies per dimension, evaluating pairs is cheaper than using features."""
_FEATURE_ACCURACY = 1e-6
"""Absolute error of the one-dimensional kernel in the feature form."""
_PAIR_ACCURACY = 1e-9
"""Absolute error of the means by which the pairwise form is centred."""
_MAX_FREQUENCIES = 4096
"""Limit on the frequencies for these means; beyond it the length-scale is far too short for the prior."""
_NULL_VARIANCE_SHARES = {1: (1.0,), 2: (0.1, 0.9), 3: (0.1, 0.6, 0.3)}
"""Shares of the orders in the null variance under the default weights, by the highest order."""


class ANOVA(Kernel):
    """Sum of centred one-dimensional RBFs, and of their products over pairs and triples of dimensions.

    Each one-dimensional kernel k(x_i, y_i) = exp(-(x_i - y_i)^2 / (2 l^2)) is centred by the marginal of the
    prior,

        kt_i(x, y) = k(x_i, y_i) - mu_i(x_i) - mu_i(y_i) + c_i
        mu_i(x_i) = E k(x_i, y_i),  c_i = E mu_i(y_i)

    and k = sum_r w_r K_r, where K_r is the elementary symmetric polynomial of degree r of kt_1, ..., kt_d.
    K_1 sees each marginal, K_2 each pair of dependent dimensions, K_3 each triple. The MMD is then a sum
    of pairwise HSICs (Gretton et al., ALT 2005) with known marginals. A joint kernel, such as the RBF, does
    not see one dependent pair at d = 128 (`mmdprior.regularizers.power`).

    Under an independent prior the centred kernels have mean zero, so the cross and self terms of the MMD
    vanish and no prior draws are needed. For any other prior, the kernel is centred by the prior's marginals
    and used with the two-sample estimators.

    Means over pairs of orders 1 and 2 take time linear in n, by the features of `CentredFeatures`: k is
    then a sum over equally spaced frequencies, exact to 1e-6, that repeats after `period`. Where this needs
    more than 64 frequencies, and for order 3, every pair is evaluated.

    Args:
        order: highest degree r, 1 to 3; at most d is used.
        lengthscale: l, in units of the codes.
        weights: w_1, ..., w_order, positive. By default the orders share the null variance of the penalty:
            10% and 90% for order 2 (10%, 60% and 30% for order 3), scaled so that w_2 = 1.
        frequencies: replace the RBF by this many Gauss-Hermite frequencies per dimension: a valid kernel
            of its own, less precise and several times cheaper. It does not repeat, but distinguishes
            distant codes badly with few frequencies. Combine it with a joint kernel (see `Sum`).

    Raises:
        InputError: an order or number out of range, or weights that do not match the order.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> penalty = MMD(Gaussian(8), ANOVA())
        >>> z = torch.randn(256, 8)
        >>> z[:, 1] = z[:, 0]  # one duplicated dimension
        >>> _ = penalty(z)
        >>> bool(penalty.terms["standardised"] > 10)  # null standard deviations
        True
        >>> sorted(penalty.terms)
        ['mmd', 'order_1', 'order_2', 'standardised']
    """

    def __init__(
        self,
        order: int = 2,
        lengthscale: float = 1.0,
        weights: Sequence[float] | None = None,
        frequencies: int | None = None,
    ) -> None:
        super().__init__()
        if order not in _NULL_VARIANCE_SHARES:
            raise InputError(f"order: {order} received; give 1, 2 or 3")
        if not is_number(lengthscale) or not 1e-6 <= lengthscale <= 1e6:
            raise InputError(f"lengthscale: {lengthscale} received; give a number from 1e-6 to 1e6")
        if frequencies is not None and positive_int("frequencies", frequencies) > _MAX_FEATURE_FREQUENCIES:
            raise InputError(f"frequencies: {frequencies} received; give 1 to {_MAX_FEATURE_FREQUENCIES}")
        self.order = order
        self.lengthscale = float(lengthscale)
        self.weights = None if weights is None else positive_numbers("weights", weights, order)
        self.frequencies = frequencies
        self.part_names = tuple(f"order_{r}" for r in range(1, order + 1))
        # The prior with its state at that time. In a tuple: as an attribute it would be a submodule.
        self._bound_to: tuple[Prior, Snapshot] | None = None
        # Derived from settings and marginals by `_derive`.
        self._derived_settings: tuple[object, ...] = ()
        self._spectrum: Spectrum | None = None
        self._features: CentredFeatures | None = None

    def bind(self, prior: Prior) -> "ANOVA":
        """Return the kernel centred by the marginals of a prior, or by normal ones with its moments.

        Raises:
            InputError: the prior has neither marginals nor moments in closed form.
        """
        bound = self._derive(_marginals(prior))
        bound._bound_to = (prior, Snapshot(prior))
        return bound

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "ANOVA":
        """Return the kernel centred by N(0, 1) if it is not bound to a prior; otherwise the kernel itself."""
        return self._centred(x.shape[1])

    def centred_by(self, prior: Prior) -> bool:
        """Whether the kernel has mean zero under this prior, which must be independent and the bound one."""
        return self._bound_to is not None and self._bound_to[0] is prior and prior.independent

    @property
    def by_features(self) -> bool:
        """Whether means over pairs are computed by features, which do not decay with the distance."""
        return self._features is not None

    @property
    def period(self) -> float:
        """Distance after which means over pairs repeat; infinite where every pair is evaluated."""
        return math.inf if self._features is None else self._features.spectrum.period

    def null_variance(self) -> float:
        """Return E k(y, y')^2 for independent draws from the product of the marginals.

        It equals sum_r w_r^2 e_r(h), with e_r the elementary symmetric polynomials and h_i = E kt_i^2:
        products of kernels of different dimensions are uncorrelated, because every kt_i has mean zero.

        Raises:
            InputError: the kernel is not bound to a prior.
        """
        bound = self._centred(None)
        return math.fsum(w**2 * e for w, e in zip(bound.part_weights, bound._null_variances(), strict=True))

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute sum_r w_r K_r for every pair."""
        bound = self._centred(x.shape[1])
        weights = _as_constant(bound.part_weights).like(x)
        return torch.einsum("p,pnm->nm", weights, bound.parts(x, y))

    def parts(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p n m"]:
        """Compute K_1, ..., K_order for every pair, few dimensions at a time."""
        bound = self._centred(x.shape[1])
        size = max(1, MAX_ENTRIES // max(1, x.shape[0] * y.shape[0]))
        if torch.compiler.is_exporting():  # the blocks of a graph cannot depend on the rows
            size = x.shape[1]
        power_sums = x.new_zeros(self.order, x.shape[0], y.shape[0])
        for start in range(0, x.shape[1], size):
            dims = slice(start, start + size)
            power_sums = power_sums + checkpointed(bound._power_sums(dims), x[:, dims], y[:, dims])
        return torch.stack(_elementary_symmetric(list(power_sums)))

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Return the mean of every order over the pairs of rows of one sample; see `Kernel.means_within`."""
        bound = self._centred(x.shape[1])
        if bound._features is None or x.shape[0] < 2:
            return super(ANOVA, bound).means_within(x, unbiased=unbiased)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        count = x.shape[0] * (x.shape[0] - 1) if unbiased else x.shape[0] ** 2
        sums = bound._features.sums_within(x, pairs=self.order > 1, diagonal=not unbiased)
        return torch.stack(sums) / count

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Return the mean of every order over all pairs of a row of x and a row of y."""
        bound = self._centred(x.shape[1])
        if bound._features is None:
            return super(ANOVA, bound).means_across(x, y)
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        sums = bound._features.sums_across(x.to(dtype), y.to(dtype), pairs=self.order > 1)
        return torch.stack(sums) / (x.shape[0] * y.shape[0])

    def _derive(self, marginals: Sequence[Marginal]) -> "ANOVA":
        """Return a copy with everything that depends on the marginals: spectra, feature form and weights."""
        length, count = self.lengthscale, self.frequencies
        needed = Spectrum.frequencies_needed
        if count is None and needed(marginals, length, _PAIR_ACCURACY) > _MAX_FREQUENCIES:
            low, high = central_interval(marginals)
            raise InputError(
                f"lengthscale: {length:g} received; too short for marginals that extend from {low:.3g} to "
                f"{high:.3g}; give a longer one, or frequencies"
            )
        bound = self._shallow_copy()
        bound._derived_settings = bound._settings()
        bound.part_names = tuple(f"order_{r}" for r in range(1, self.order + 1))
        bound._spectrum = Spectrum(marginals, length, count, _PAIR_ACCURACY)
        few = count is not None or needed(marginals, length, _FEATURE_ACCURACY) <= _MAX_FEATURE_FREQUENCIES
        bound._features = None
        if self.order <= 2 and few:
            bound._features = CentredFeatures(Spectrum(marginals, length, count, _FEATURE_ACCURACY))
        bound.part_weights = tuple(self.weights or bound._default_weights())
        return bound

    def _centred(self, dim: int | None) -> "ANOVA":
        """Return the kernel itself if it is bound, otherwise a copy centred by N(0, 1), with a warning.

        A kernel whose settings or prior have changed since it was bound is bound again.
        """
        if self._spectrum is not None:
            if dim is not None and len(self._spectrum.marginals) != dim:
                raise InputError(
                    f"codes: {dim} dimensions received; the kernel was bound to a prior of "
                    f"{len(self._spectrum.marginals)}"
                )
            self._bind_again_if_changed()
            return self
        if dim is None:
            raise InputError("kernel: not bound to a prior; call kernel.bind(prior) first")
        warnings.warn("ANOVA is not bound to a prior: centred by N(0, 1)", stacklevel=3)
        return self._derive([NormalMarginal(0.0, 1.0)] * dim)

    def _settings(self) -> tuple[object, ...]:
        weights = None if self.weights is None else tuple(self.weights)
        return self.order, self.lengthscale, weights, self.frequencies

    def _bind_again_if_changed(self) -> None:
        """Bind the kernel again if its settings or its prior have changed."""
        if self._spectrum is None or torch.compiler.is_compiling():
            return
        prior = None if self._bound_to is None else self._bound_to[0]
        prior_is_current = self._bound_to is None or self._bound_to[1].is_current(prior)
        if not prior_is_current or self._derived_settings != self._settings():
            again = self._derive(self._spectrum.marginals) if prior is None else self.bind(prior)
            vars(self).update(vars(again))

    def __getstate__(self) -> dict[str, Any]:
        self._bind_again_if_changed()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._bound_to is not None:
            self._bound_to = (self._bound_to[0], Snapshot(self._bound_to[0]))

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # In state dicts of earlier versions the prior is also a part of the kernel.
        for key in [key for key in state_dict if key.startswith(f"{prefix}_prior.")]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _power_sums(self, dims: slice) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function that computes p_r = sum_i kt_i^r over some dimensions, r = 1, ..., order."""
        spectrum = self._spectrum
        assert spectrum is not None

        def power_sums(x: Tensor, y: Tensor) -> Tensor:
            with full_precision(x.device.type):
                # kt_i = k - (mu_i(x_i) + mu_i(y_i)) + c_i, as (dims, n, m).
                kernel = self._one_dimensional(x.T[:, :, None] - y.T[:, None, :], spectrum)
                means = spectrum.mean(x, dims).T[:, :, None] + spectrum.mean(y, dims).T[:, None, :]
                centred = kernel - means + spectrum.energies.like(x)[dims][:, None, None]
                return torch.stack([(centred**power).sum(0) for power in range(1, self.order + 1)])

        return power_sums

    def _one_dimensional(self, difference: Tensor, spectrum: Spectrum) -> Tensor:
        """Compute k for every difference x_i - y_i: the RBF, or its sum over few frequencies."""
        if self.frequencies is None:
            return torch.exp(difference.square() * (-0.5 / spectrum.lengthscale**2))
        total = torch.zeros_like(difference)
        frequencies, weights = spectrum.frequencies.value.tolist(), spectrum.weights.value.tolist()
        for frequency, weight in zip(frequencies, weights, strict=True):
            total = total + weight * torch.cos(frequency * difference)
        return total

    def _null_variances(self) -> list[float]:
        """Return the null variance E K_r^2 = e_r(h) of every order."""
        spectrum = self._spectrum if self._features is None else self._features.spectrum
        assert spectrum is not None
        h = spectrum.null_variances()
        return [float(e) for e in _elementary_symmetric([(h**r).sum() for r in range(1, self.order + 1)])]

    def _default_weights(self) -> list[float]:
        """Return weights under which the orders share the null variance, w_r^2 e_r(h) = share_r * total.

        The total is such that w_2 = 1 (w_1 = 1 for order 1). An order higher than d has e_r = 0; its K_r is
        zero too, and its weight is 1.
        """
        variances, shares = self._null_variances(), _NULL_VARIANCE_SHARES[self.order]
        main = min(2, self.order) - 1
        total = variances[main] / shares[main]
        return [
            math.sqrt(share * total / variance) if variance > 1e-12 and total > 0 else 1.0
            for share, variance in zip(shares, variances, strict=True)
        ]

    def extra_repr(self) -> str:
        """Show the settings and the prior that the kernel is centred by."""
        by = "N(0, 1), unbound" if self._bound_to is None else type(self._bound_to[0]).__name__
        few = "" if self.frequencies is None else f", frequencies={self.frequencies}"
        return f"order={self.order}, lengthscale={self.lengthscale:g}{few}, centred by {by}"


@lru_cache(maxsize=64)
def _as_constant(weights: tuple[float, ...]) -> Constant:
    return Constant(torch.tensor(weights, dtype=torch.float64))


def _marginals(prior: Prior) -> list[Marginal]:
    """Return a prior's marginals, or normal ones with its moments where it has no closed-form marginals."""
    try:
        return prior.marginals()
    except InputError:
        moments = prior.moments()
    scales = moments.covariance.diagonal().sqrt()
    if not bool((scales > 0).all()):
        raise InputError(
            f"kernel: {type(prior).__name__} has a dimension of variance zero; an anova kernel needs a "
            "positive variance in every dimension"
        )
    return [NormalMarginal(m, s) for m, s in zip(moments.mean.tolist(), scales.tolist(), strict=True)]


def _elementary_symmetric(p: list[Tensor]) -> list[Tensor]:
    """Return e_1, ..., e_r from the power sums p_1, ..., p_r, r <= 3, by Newton's identities.

    r e_r = sum_{k=1..r} (-1)^(k-1) e_{r-k} p_k
    """
    e = [p[0]]  # e_1 = p_1
    if len(p) > 1:
        e.append((p[0] ** 2 - p[1]) / 2)  # 2 e_2 = e_1 p_1 - p_2
    if len(p) > 2:
        # 3 e_3 = e_2 p_1 - e_1 p_2 + p_3, with e_2 and e_1 inserted.
        e.append((p[0] ** 3 - 3 * p[0] * p[1] + 2 * p[2]) / 6)
    return e
