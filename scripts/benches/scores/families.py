"""Codes with known dependence, and the R2 that each kind of predictor reaches with infinitely many codes."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from benches.scores.oracle import Reach, parabola, ring, two_clusters
from torch import Tensor

_LN2 = math.log(2)


class Family(NamedTuple):
    """One distribution of codes.

    Attributes:
        name: kind of distribution.
        level: strength of the dependence, or of the noise.
        draw: (n, generator) -> (n, d) codes.
        reach: population R2_i.
    """

    name: str
    level: float
    draw: Callable[[int, torch.Generator], Tensor]
    reach: Reach

    @property
    def dependence(self) -> float:
        """True dependence of a dimension on the others, 1 - exp(-2 I), averaged over dimensions."""
        return sum(self.reach.information) / len(self.reach.information)

    def target(self, predictor: str) -> float:
        """Return the mean population R2 that the predictor reaches."""
        return sum(self.reach.of(predictor)) / len(self.reach.linear)


def families(d: int) -> list[Family]:
    """Return every family at all its levels, with d >= 4 dimensions each.

    Independent blocks of two, three or four dependent dimensions are repeated. The remaining dimensions are
    independent normals.
    """
    result = [_gaussian(d, rho) for rho in (0.0, 0.1, 0.3, 0.6, 0.9)]
    result += [_uniform(d, rho) for rho in (0.0, 0.3, 0.6, 0.9)]
    result += [Family("bimodal", 0.0, lambda n, g: _bimodal(n, d, g), _nothing(d))]
    result += [_tiled("clusters", m, d, _draw_clusters, _pairs(two_clusters, m)) for m in (0.5, 1.0, 2.0)]
    result += [_tiled("ring", s, d, _draw_ring, _pairs(ring, s)) for s in (0.05, 0.2, 0.5)]
    result += [_tiled("parabola", s, d, _draw_parabola, _pairs(parabola, s)) for s in (0.1, 0.5, 2.0)]
    result += [_tiled("xor", flips, d, _draw_xor, _xor_reach(flips)) for flips in (0.0, 0.1, 0.25)]
    return [*result, _tiled("sphere", 0.0, d, _draw_sphere, _blind_to_the_mean(4)), _duplicate(d)]


def closed_cases() -> list[Family]:
    """Return the families with known population values for every predictor, each in its natural dimension."""
    return [
        _gaussian(4, 0.0)._replace(name="independent"),
        _gaussian(4, 0.5)._replace(name="equicorrelated"),
        _tiled("circle", 0.0, 2, _draw_ring, _blind_to_the_mean(2)),
        _tiled("3-sphere", 0.0, 4, _draw_sphere, _blind_to_the_mean(4)),
        _tiled("parabola", 0.1, 2, _draw_parabola, _pairs(parabola, 0.1)),
        _tiled("xor", 0.0, 3, _draw_xor, _xor_reach(0.0)),
        _duplicate(2),
    ]


def equicorrelated(n: int, d: int, rho: float, g: torch.Generator) -> Tensor:
    """Sample normal variables with correlation rho between any two."""
    shared = torch.randn(n, 1, generator=g)
    return rho**0.5 * shared + (1 - rho) ** 0.5 * torch.randn(n, d, generator=g)


def equicorrelated_r2(d: int, rho: float) -> float:
    """Return R2 of each of d equicorrelated variables given the others, (d - 1) rho^2 / (1 + (d - 2) rho)."""
    return (d - 1) * rho**2 / (1 + (d - 2) * rho)


def _gaussian(d: int, rho: float) -> Family:
    r2 = [equicorrelated_r2(d, rho)] * d
    return Family("gaussian", rho, lambda n, g: equicorrelated(n, d, rho, g), Reach(r2, r2, r2, r2))


def _uniform(d: int, rho: float) -> Family:
    """Return the Gaussian copula with uniform marginals. Information and best-function R2 do not change.

    Ranks of normals with correlation r have correlation (6 / pi) asin(r / 2). Two draws of z_i with the
    others fixed have correlation R2_i.
    """
    r2 = equicorrelated_r2(d, rho)
    linear = equicorrelated_r2(d, 6 / math.pi * math.asin(rho / 2))
    reach = Reach([linear] * d, [6 / math.pi * math.asin(r2 / 2)] * d, [r2] * d, [r2] * d)
    return Family("uniform", rho, lambda n, g: torch.special.ndtr(equicorrelated(n, d, rho, g)), reach)


def _duplicate(d: int) -> Family:
    one = [1.0, 1.0]
    return _tiled("duplicate", 0.0, d, _draw_duplicate, Reach(one, one, one, one))


def _tiled(
    name: str, level: float, d: int, draw: Callable[[int, float, torch.Generator], Tensor], reach: Reach
) -> Family:
    size = len(reach.linear)
    blocks, rest = divmod(d, size)

    def codes(n: int, g: torch.Generator) -> Tensor:
        parts = [draw(n, level, g) for _ in range(blocks)]
        return torch.cat([*parts, torch.randn(n, rest, generator=g)], 1)

    return Family(name, level, codes, Reach(*(values * blocks + [0.0] * rest for values in reach)))


@cache
def _pairs(oracle: Callable[[float], Reach], level: float) -> Reach:
    return oracle(level)


def _nothing(d: int) -> Reach:
    return Reach([0.0] * d, [0.0] * d, [0.0] * d, [0.0] * d)


def _blind_to_the_mean(d: int) -> Reach:
    """Return the reach for a sphere: the other dimensions determine z_i up to its sign."""
    return Reach([0.0] * d, [0.0] * d, [1.0] * d, [1.0] * d)


def _xor_reach(flips: float) -> Reach:
    """Return the reach for XOR: the others determine the sign of each up to flips; pairs are independent."""
    mean = 2 / math.pi * (1 - 2 * flips) ** 2
    entropy = float(-torch.special.xlogy(shares := torch.tensor([flips, 1 - flips]), shares).sum())
    return Reach([0.0] * 3, [mean] * 3, [0.0] * 3, [-math.expm1(-2 * (_LN2 - entropy))] * 3)


def _bimodal(n: int, d: int, g: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, (n, d), generator=g) * 2 - 1
    return 2 * signs + 0.5 * torch.randn(n, d, generator=g)


def _draw_clusters(n: int, separation: float, g: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, (n, 1), generator=g) * 2 - 1
    return separation * signs + torch.randn(n, 2, generator=g)


def _draw_ring(n: int, noise: float, g: torch.Generator) -> Tensor:
    t = 2 * math.pi * torch.rand(n, generator=g)
    return torch.stack([t.cos(), t.sin()], 1) + noise * torch.randn(n, 2, generator=g)


def _draw_parabola(n: int, noise: float, g: torch.Generator) -> Tensor:
    a, b = torch.randn(2, n, generator=g)
    return torch.stack([a, a.square() + noise * b], 1)


def _draw_xor(n: int, flips: float, g: torch.Generator) -> Tensor:
    a, b, e = torch.randn(3, n, generator=g)
    kept = torch.where(torch.rand(n, generator=g) < flips, -1.0, 1.0)
    return torch.stack([a, b, kept * torch.sign(a * b) * e.abs()], 1)


def _draw_sphere(n: int, level: float, g: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 4, generator=g))


def _draw_duplicate(n: int, level: float, g: torch.Generator) -> Tensor:
    return torch.randn(n, 1, generator=g).expand(n, 2)
