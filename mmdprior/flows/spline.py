"""Monotone rational-quadratic splines, and a per-dimension bijection made of them."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.errors import InputError
from mmdprior.flows.bijection import Bijection
from mmdprior.priors.special import normal_cdf

__all__ = ["MonotoneSpline", "knots_from_parameters", "rational_quadratic", "rational_quadratic_inverse"]

_BOUND = 1.0
"""Largest absolute value of a softly bounded parameter: the logarithm of a width, a height or a slope.

Together they keep the slope of a spline between about 1/50 and 50, so that its inverse is accurate.
"""

Knots = tuple[Tensor, Tensor, Tensor]
"""Knot positions x (.., K + 1) and y (.., K + 1), both increasing, and slopes (.., K + 1) above zero."""


def rational_quadratic(x: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """Evaluate monotone rational-quadratic splines (Durkan et al., arXiv 1906.04032, eq. 4 and 5).

    Outside the first and last knot the function is linear, with the slope of that knot.

    Args:
        x: points, any shape.
        knots: x, y and slopes, whose leading axes broadcast with x.

    Returns:
        values and log-slopes, both of the shape of x.
    """
    left = _bin(x, knots[0])
    x0, x1, y0, y1, d0, d1 = _ends(left, x, knots)
    width, height = x1 - x0, y1 - y0
    s = height / width
    t = ((x - x0) / width).clamp(0, 1)
    mixed = t * (1 - t)
    denominator = s + (d0 + d1 - 2 * s) * mixed
    y = y0 + height * (s * t.square() + d0 * mixed) / denominator
    log_slope = (
        2 * s.log() + (d1 * t.square() + 2 * s * mixed + d0 * (1 - t).square()).log() - 2 * denominator.log()
    )
    # Linear tails: the clamped t puts y at an end of the spline.
    overhang = torch.where(x < x0, x - x0, torch.where(x > x1, x - x1, 0.0))
    return y + overhang * torch.where(x < x0, d0, d1), log_slope


def rational_quadratic_inverse(y: Tensor, knots: Knots) -> Tensor:
    """Return the x at which `rational_quadratic` is y.

    Solves the quadratic equation of Durkan et al., eq. 6 to 8, in the form without cancellation.
    """
    left = _bin(y, knots[1])
    x0, x1, y0, y1, d0, d1 = _ends(left, y, knots)
    width, height = x1 - x0, y1 - y0
    s = height / width
    above = torch.minimum(torch.maximum(y, y0), y1) - y0
    bend = above * (d0 + d1 - 2 * s)
    a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * above
    # Rounding may make a discriminant of zero slightly negative.
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    t = (2 * c / (-b - root)).clamp(0, 1)
    overhang = torch.where(y < y0, (y - y0) / d0, torch.where(y > y1, (y - y1) / d1, 0.0))
    return x0 + t * width + overhang


def _bin(x: Tensor, knots: Tensor) -> Tensor:
    """Return the index of the bin of each point; points outside get the first or last bin."""
    return (x[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)


def _ends(left: Tensor, x: Tensor, knots: Knots) -> list[Tensor]:
    """Return x, y and slope at the left and right knot of each bin."""
    ends = []
    for values in knots:
        values = values.expand(*x.shape, -1)
        ends += [values.gather(-1, left)[..., 0], values.gather(-1, left + 1)[..., 0]]
    return ends


def knots_from_parameters(raw: Float[Tensor, "*shape p"], bound: float) -> Knots:
    """Return the knots of a spline on [-bound, bound].

    Zeros give the identity. The slope at an inner knot is relative to the geometric mean of the slopes of
    the chords on both sides.

    Args:
        raw: unconstrained numbers, 3 K + 1 per spline of K bins: widths, heights and slopes.
        bound: first and last knot, in x and y.
    """
    bins = raw.shape[-1] // 3
    widths, heights, slopes = (_BOUND * torch.tanh(raw / _BOUND)).split([bins, bins, bins + 1], -1)
    log_widths, log_heights = torch.log_softmax(widths, -1), torch.log_softmax(heights, -1)
    log_chords = log_heights - log_widths
    inner = functional.pad((log_chords[..., 1:] + log_chords[..., :-1]) / 2, (1, 1))
    return _positions(log_widths, bound), _positions(log_heights, bound), (slopes + inner).exp()


def _positions(log_shares: Tensor, bound: float) -> Tensor:
    """Return increasing knots from -bound to bound."""
    inner = bound * (2 * log_shares.exp()[..., :-1].cumsum(-1) - 1)
    ends = torch.full_like(log_shares[..., :1], bound)
    return torch.cat([-ends, inner, ends], -1)


class MonotoneSpline(Bijection):
    """A learnable increasing function per dimension, a rational-quadratic spline with linear tails.

    It starts as the identity. `fit` sets the knots from quantiles of codes, so that every dimension of z is
    close to N(0, 1).

    Args:
        dim: number of dimensions d.
        bins: number of bins K of each spline.
        bound: knots are on [-bound, bound] at the start.

    Raises:
        InputError: bins is below 1, or bound is not positive.

    Example:
        >>> import torch
        >>> from mmdprior.flows import MonotoneSpline
        >>> codes = torch.randn(5000, 2).exp()
        >>> z = MonotoneSpline(2).fit(codes)(codes)
        >>> bool(z.mean(0).abs().max() < 0.05), bool((z.std(0) - 1).abs().max() < 0.05)
        (True, True)
    """

    def __init__(self, dim: int, bins: int = 32, bound: float = 5.0) -> None:
        super().__init__(dim)
        if bins < 1 or not bound > 0:
            raise InputError(f"bins: {bins} received with bound {bound}; give bins >= 1 and bound > 0")
        self.bins, self.bound = bins, bound
        equal = torch.full((dim, bins), math.log(2 * bound / bins))
        self.first = nn.Parameter(torch.full((2, dim), -bound))
        self.log_widths = nn.Parameter(equal.clone())
        self.log_heights = nn.Parameter(equal.clone())
        self.log_slopes = nn.Parameter(torch.zeros(dim, bins + 1))

    @torch.no_grad()
    def fit(self, codes: Float[Tensor, "n d"]) -> "MonotoneSpline":
        """Set the knots so that every dimension of z is close to N(0, 1); return the map.

        Knots are at quantiles of the codes and of N(0, 1). The outermost have probability max(1e-3, 5 / n).

        Raises:
            InputError: fewer than 40 rows, or a dimension is constant.
        """
        if codes.ndim != 2 or codes.shape[1] != self.dim or len(codes) < 40:
            raise InputError(f"codes: shape {tuple(codes.shape)} received; give (n >= 40, {self.dim})")
        end = float(torch.special.ndtri(torch.tensor(max(1e-3, 5 / len(codes)), dtype=torch.float64)))
        y = torch.linspace(end, -end, self.bins + 1, dtype=torch.float64, device=codes.device)
        ordered = codes.double().sort(0).values
        ranks = normal_cdf(y) * (len(codes) - 1)
        low = ranks.floor().long().clamp(max=len(codes) - 2)
        x = (ordered[low] + (ordered[low + 1] - ordered[low]) * (ranks - low)[:, None]).T
        widths = x.diff(dim=1)
        spread = (x[:, -1:] - x[:, :1]) / self.bins
        if not bool((spread > 0).all()):
            raise InputError("codes: a dimension is constant; remove it")
        widths = torch.maximum(widths, 1e-3 * spread)  # repeated values would give an infinite slope
        heights = y.diff().expand_as(widths)
        log_secants = (heights / widths).log()
        inner = (log_secants[:, :-1] + log_secants[:, 1:]) / 2
        slopes = torch.cat([log_secants[:, :1], inner, log_secants[:, -1:]], 1)
        self.first.copy_(torch.stack([x[:, 0], y[:1].expand(self.dim)]))
        self.log_widths.copy_(widths.log())
        self.log_heights.copy_(heights.log())
        self.log_slopes.copy_(slopes)
        return self

    def forward_and_log_det(self, h: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """Return the value of each dimension's spline, and the sum of the log-slopes."""
        z, log_slope = rational_quadratic(h, self._knots(h))
        return z, log_slope.sum(1)

    def inverse(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the inverse of each dimension's spline."""
        return rational_quadratic_inverse(z, self._knots(z))

    def spec(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments."""
        return {"name": "MonotoneSpline", "dim": self.dim, "bins": self.bins, "bound": self.bound}

    def _knots(self, like: Tensor) -> Knots:
        first = self.first.to(like)
        x, y = (
            torch.cat([start[:, None], start[:, None] + steps.to(like).exp().cumsum(1)], 1)
            for start, steps in zip(first, (self.log_widths, self.log_heights), strict=True)
        )
        return x, y, self.log_slopes.to(like).exp()
