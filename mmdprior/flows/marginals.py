"""The map from independent normal dimensions to any independent dimensions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection
from mmdprior.precision import in_float64
from mmdprior.priors.marginals import (
    AffineMarginal,
    AtomsMarginal,
    BetaMarginal,
    GeneralizedGaussianMarginal,
    LaplaceMarginal,
    LogisticMarginal,
    MixtureMarginal,
    NormalMarginal,
    StudentTMarginal,
    UniformMarginal,
    group_equal,
)
from mmdprior.priors.prior import Marginal
from mmdprior.priors.special import normal_cdf

__all__ = ["MarginalMap"]

_FIRST_TAIL, _LAST_TAIL = 1.0, 8.0
"""Normal deviates between which the start of a linear tail is chosen."""

_ROUNDING = 2e-5
"""Largest error of the inverse, in normal deviates, that rounding z to float32 may cause."""

_LARGEST = 1e30
"""Largest size of z before a linear tail starts, so that float32 holds codes further out."""


class MarginalMap(Bijection):
    """z_i = F_i^-1(Phi(g_i)): N(0, 1) in every dimension becomes the distribution function F_i.

    The map is exact between two points of every dimension, and linear beyond them, which keeps it invertible
    in float32. They are 8 standard deviations from the centre, or closer where rounding z to float32 would
    change the inverse by more than 2e-5. For a box that is at 3.4 standard deviations, so 7 in 10,000 codes
    per dimension are in a tail, and most of these are just outside the box.

    The log-determinant has no gradient, and z only a first derivative.

    Args:
        marginals: one continuous distribution per dimension, such as ``prior.marginals()``.

    Raises:
        InputError: a distribution has atoms.

    Example:
        >>> import torch
        >>> from mmdprior.flows import MarginalMap
        >>> from mmdprior.priors import Uniform
        >>> map = MarginalMap(Uniform(1, low=0.0, high=4.0).marginals())
        >>> map(torch.zeros(1, 1)).tolist(), map.inverse(torch.full((1, 1), 2.0)).tolist()
        ([[2.0]], [[0.0]])
    """

    def __init__(self, marginals: Sequence[Marginal]) -> None:
        super().__init__(len(marginals))
        self._marginals = list(marginals)
        groups = group_equal(marginals)
        self._maps = [_NormalTo(marginal) for marginal, _ in groups]
        self._columns = [columns for _, columns in groups]

    def forward(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return F_i^-1(Phi(g_i))."""
        return self._values(h)[0]

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return F_i^-1(Phi(g_i)), and the sum of log phi(g_i) - log f_i(z_i)."""
        z, slopes = self._values(h, with_slopes=True)
        return z, slopes.log().sum(1).to(h)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return Phi^-1(F_i(z_i))."""
        exact = in_float64(z)
        g = torch.empty_like(exact)
        for function, columns in zip(self._maps, self._columns, strict=True):
            g[:, columns] = function.inverse(exact[:, columns])
        return g.to(z)

    def spec(self) -> dict[str, Any]:
        """Return the class name, and the family and parameters of every dimension.

        Raises:
            InputError: a distribution is of a family that is not of this package.
        """
        return {"name": "MarginalMap", "marginals": [marginal_spec(m) for m in self._marginals]}

    def _values(self, h: Tensor, with_slopes: bool = False) -> tuple[Tensor, Tensor]:
        """Return z, with the slopes as its gradient, and the slopes where they are needed."""
        exact = in_float64(h.detach())
        z, slopes = torch.empty_like(exact), torch.ones_like(exact)
        differentiable = h.requires_grad and torch.is_grad_enabled()
        for function, columns in zip(self._maps, self._columns, strict=True):
            z[:, columns] = function(exact[:, columns])
            if with_slopes or differentiable:
                slopes[:, columns] = function.slope(exact[:, columns], z[:, columns])
        if differentiable:
            z = z + slopes * (in_float64(h) - exact)  # adds zero, with the slope as its gradient
        return z.to(h), slopes


class _NormalTo:
    """The increasing function F^-1(Phi(g)) of one family, with linear tails, and its inverse.

    Both tails use the small probability of their side, which keeps its relative precision: the upper one is
    the lower one of the distribution of -X.
    """

    def __init__(self, marginal: Marginal) -> None:
        if has_atoms(marginal):
            raise InputError("marginals: a distribution with atoms received; give continuous distributions")
        self.lower, self.upper = marginal, _reflected(marginal)
        # Per side, -1 or 1: start of the linear tail, value and slope there.
        self.end: dict[int, float] = {}
        self.value: dict[int, float] = {}
        self.tail_slope: dict[int, float] = {}
        self.median = float(self._exact(torch.zeros(1, dtype=torch.float64)))
        for side in (-1, 1):
            self._place_tail(side)

    def _place_tail(self, side: int) -> None:
        g = side * torch.arange(_FIRST_TAIL, _LAST_TAIL + 0.15, 0.1, dtype=torch.float64)
        z = self._exact(g)
        rising = (z.diff() != 0).cumprod(0).bool()  # False from where z has reached an end of its range
        g, z = g[:-1], z[:-1]
        slope = self._exact_slope(g, z)
        # float32 has 24 bits: rounding z changes it by up to 2^-24 |z|, and the inverse by that / slope.
        accurate = rising & (z.abs() < _LARGEST) & (z.abs() * 2.0**-24 <= _ROUNDING * slope)
        last = int(accurate.nonzero().max()) if bool(accurate.any()) else 0
        self.end[side], self.value[side] = float(g[last]), float(z[last])
        self.tail_slope[side] = float(slope[last])

    def __call__(self, g: Tensor) -> Tensor:
        inside = g.clamp(self.end[-1], self.end[1])
        z = self._exact(inside)
        z = torch.where(g < self.end[-1], z + self.tail_slope[-1] * (g - inside), z)
        return torch.where(g > self.end[1], z + self.tail_slope[1] * (g - inside), z)

    def slope(self, g: Tensor, z: Tensor) -> Tensor:
        """Return the derivative at g, where z is the value."""
        inside = g.clamp(self.end[-1], self.end[1])
        return self._exact_slope(inside, z.clamp(self.value[-1], self.value[1]))

    def inverse(self, z: Tensor) -> Tensor:
        inside = z.clamp(self.value[-1], self.value[1])
        upper = inside > self.median
        g = torch.empty_like(z)
        g[~upper] = torch.special.ndtri(self.lower.cdf(inside[~upper]))
        g[upper] = -torch.special.ndtri(self.upper.cdf(-inside[upper]))
        below, above = z < self.value[-1], z > self.value[1]
        g = torch.where(below, self.end[-1] + (z - inside) / self.tail_slope[-1], g)
        return torch.where(above, self.end[1] + (z - inside) / self.tail_slope[1], g)

    def _exact(self, g: Tensor) -> Tensor:
        z, upper = torch.empty_like(g), g > 0
        z[~upper] = self.lower.quantile(normal_cdf(g[~upper]))
        z[upper] = -self.upper.quantile(normal_cdf(-g[upper]))
        return z

    def _exact_slope(self, g: Tensor, z: Tensor) -> Tensor:
        """Return dz/dg = phi(g) / f(z)."""
        upper = g > 0
        density = torch.empty_like(g)
        density[~upper] = _density(self.lower, z[~upper])
        density[upper] = _density(self.upper, -z[upper])
        return torch.exp(-0.5 * g.square()) / math.sqrt(2 * math.pi) / density


def _density(marginal: Marginal, x: Tensor) -> Tensor:
    """Return the density, the derivative of the distribution function.

    At a kink, such as that of a Laplace density, autograd returns zero. A point next to it is used there.
    """
    with torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        density = torch.autograd.grad(marginal.cdf(point).sum(), point)[0]
        if bool((density == 0).any()):
            aside = (x - 1e-12 * (1 + x.abs())).detach().requires_grad_()
            nearby = torch.autograd.grad(marginal.cdf(aside).sum(), aside)[0]
            density = torch.where(density == 0, nearby, density)
    return density.clamp(min=1e-300)


def _reflected(marginal: Marginal) -> Marginal:
    """Return the distribution of -X, in a form that is precise in its lower tail."""
    match marginal:
        case NormalMarginal(mean, scale):
            return NormalMarginal(-mean, scale)
        case UniformMarginal(low, high):
            return UniformMarginal(-high, -low)
        case LaplaceMarginal(loc, scale):
            return LaplaceMarginal(-loc, scale)
        case LogisticMarginal(loc, scale):
            return LogisticMarginal(-loc, scale)
        case StudentTMarginal(df, loc, scale):
            return StudentTMarginal(df, -loc, scale)
        case GeneralizedGaussianMarginal(shape, loc, scale):
            return GeneralizedGaussianMarginal(shape, -loc, scale)
        case BetaMarginal(alpha, beta, low, high):
            return BetaMarginal(beta, alpha, -high, -low)
        case MixtureMarginal(weights, parts):
            return MixtureMarginal(weights, [_reflected(part) for part in parts])
        case AffineMarginal(base, factor, shift) if factor < 0:
            return AffineMarginal(base, -factor, -shift)
        case AffineMarginal(base, factor, shift):
            return AffineMarginal(_reflected(base), factor, -shift)
    return AffineMarginal(marginal, -1.0, 0.0)


def has_atoms(marginal: Marginal) -> bool:
    """Return whether single values are known to have positive probability."""
    if isinstance(marginal, MixtureMarginal):
        pairs = zip(marginal.weights, marginal.parts, strict=True)
        return any(weight > 0 and has_atoms(part) for weight, part in pairs)
    return isinstance(marginal, AtomsMarginal)


_FAMILIES = (
    NormalMarginal,
    UniformMarginal,
    LaplaceMarginal,
    LogisticMarginal,
    StudentTMarginal,
    BetaMarginal,
    GeneralizedGaussianMarginal,
    MixtureMarginal,
    AffineMarginal,
)


def marginal_spec(marginal: Marginal) -> dict[str, Any]:
    """Return family and parameters of a one-dimensional distribution as plain values.

    Raises:
        InputError: the family is not one of this package's continuous ones.
    """
    if not isinstance(marginal, _FAMILIES):
        raise InputError(
            f"marginals: {type(marginal).__name__} cannot be saved; use a family of this package"
        )

    def plain(value: Any) -> Any:
        if isinstance(value, Marginal):
            return marginal_spec(value)
        return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    values = {part.name: plain(getattr(marginal, part.name)) for part in fields(marginal)}
    return {"family": type(marginal).__name__, **values}


def marginal_from_spec(spec: Mapping[str, Any]) -> Marginal:
    """Return the distribution that `marginal_spec` described.

    Raises:
        InputError: the family is unknown.
    """
    known = {family.__name__: family for family in _FAMILIES}
    if spec.get("family") not in known:
        raise InputError(f"family: {spec.get('family')!r} received; expected one of {sorted(known)}")

    def parsed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return marginal_from_spec(value)
        return [parsed(entry) for entry in value] if isinstance(value, list) else value

    arguments = {name: parsed(value) for name, value in spec.items() if name != "family"}
    return known[spec["family"]](**arguments)
