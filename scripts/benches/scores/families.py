"""Codes whose dependence is known, and what every predictor could reach of it with codes without end."""

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
        name: of its kind.
        level: of its dependence or its noise.
        draw: (n, generator) -> (n, d) codes.
        reach: population R2_i.
    """

    name: str
    level: float
    draw: Callable[[int, torch.Generator], Tensor]
    reach: Reach

    @property
    def dependence(self) -> float:
        """True dependence of a dimension on the others, 1 - exp(-2 I), averaged."""
        return sum(self.reach.information) / len(self.reach.information)

    def target(self, predictor: str) -> float:
        """Mean R2 that the predictor could reach."""
        return sum(self.reach.of(predictor)) / len(self.reach.linear)


def families(d: int) -> list[Family]:
    """Every kind over its levels, d >= 4 dimensions each.

    Blocks of two, three or four dependent dimensions are repeated, independent of each other, and what is
    left of d is filled with independent normals.
    """
    found = [_gaussian(d, rho) for rho in (0.0, 0.1, 0.3, 0.6, 0.9)]
    found += [_uniform(d, rho) for rho in (0.0, 0.3, 0.6, 0.9)]
    found += [Family("bimodal", 0.0, lambda n, g: _bimodal(n, d, g), _nothing(d))]
    found += [_tiled("clusters", m, d, _draw_clusters, _pairs(two_clusters, m)) for m in (0.5, 1.0, 2.0)]
    found += [_tiled("ring", s, d, _draw_ring, _pairs(ring, s)) for s in (0.05, 0.2, 0.5)]
    found += [_tiled("parabola", s, d, _draw_parabola, _pairs(parabola, s)) for s in (0.1, 0.5, 2.0)]
    found += [_tiled("xor", flips, d, _draw_xor, _xor_reach(flips)) for flips in (0.0, 0.1, 0.25)]
    return [*found, _tiled("sphere", 0.0, d, _draw_sphere, _blind_to_the_mean(4)), _duplicate(d)]


def closed_cases() -> list[Family]:
    """The cases whose population values are known for every predictor, each in its own dimension."""
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
    """Normals with correlation rho between any two."""
    shared = torch.randn(n, 1, generator=g)
    return rho**0.5 * shared + (1 - rho) ** 0.5 * torch.randn(n, d, generator=g)


def equicorrelated_r2(d: int, rho: float) -> float:
    """R2 of each of d equicorrelated variables given the others, (d - 1) rho^2 / (1 + (d - 2) rho)."""
    return (d - 1) * rho**2 / (1 + (d - 2) * rho)


def _gaussian(d: int, rho: float) -> Family:
    r2 = [equicorrelated_r2(d, rho)] * d
    return Family("gaussian", rho, lambda n, g: equicorrelated(n, d, rho, g), Reach(r2, r2, r2, r2))


def _uniform(d: int, rho: float) -> Family:
    """The same under uniform marginals: the copula keeps information and the best function alone.

    Normals of correlation r have ranks of correlation (6 / pi) asin(r / 2), and two draws of z_i with the
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
    """A sphere: of the others given, z_i is known but for its sign."""
    return Reach([0.0] * d, [0.0] * d, [1.0] * d, [1.0] * d)


def _xor_reach(flips: float) -> Reach:
    """The others say the sign of each, right but for the flips; any two are independent."""
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
