"""Population R2 of a pair of variables for each kind of predictor, from their density on a grid."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mmdprior import InputError

Density = Callable[[Tensor, Tensor], Tensor]
"""Function of (a, 1) and (1, b) points to (a, b) densities, up to a factor."""


_POINTS = 800


class Reach(NamedTuple):
    """Population R2_i of every dimension per kind of predictor, each from 0 to 1."""

    linear: list[float]
    mean: list[float]
    best_function: list[float]
    information: list[float]

    def of(self, predictor: str) -> list[float]:
        """Return the population R2_i that a predictor reaches with infinitely many codes."""
        names = {"linear": "linear", "additive": "best_function", "information": "information"}
        return list(getattr(self, names.get(predictor, "mean")))


def reach_of_pair(density: Density, first: tuple[float, float], second: tuple[float, float]) -> Reach:
    """Compute the reach by summing the density over a grid between the ends of each variable.

    Mean regression reaches Var E[x|y] / Var x. The best function of x reaches the squared maximal
    correlation: the second singular value of p(x, y) / sqrt(p(x) p(y)), squared (Renyi, 1959).
    """
    x, y = (torch.linspace(*ends, _POINTS, dtype=torch.float64) for ends in (first, second))
    joint = density(x[:, None], y[None])
    joint = joint / joint.sum()
    of_x, of_y = joint.sum(1), joint.sum(0)
    if max(of_x[0], of_x[-1], of_y[0], of_y[-1]) > 1e-6 * joint.sum(1).max():
        raise InputError(f"grid: {first} by {second} received; give ends beyond the density's mass")
    x, y = x - of_x @ x, y - of_y @ y
    x, y = x / (of_x @ x.square()).sqrt(), y / (of_y @ y.square()).sqrt()
    mean_x, mean_y = (joint @ y) / of_x.clamp(min=1e-300), (joint.T @ x) / of_y.clamp(min=1e-300)
    scaled = joint / (of_x[:, None] * of_y[None]).sqrt().clamp(min=1e-150)
    independent = (of_x[:, None] * of_y[None]).clamp(min=1e-300)
    nats = float(torch.special.xlogy(joint, (joint / independent).clamp(min=1e-300)).sum())
    squared = float(torch.linalg.eigvalsh(scaled @ scaled.T)[-2])
    return Reach(
        linear=[float(x @ joint @ y) ** 2] * 2,
        mean=[float(of_y @ mean_y.square()), float(of_x @ mean_x.square())],
        best_function=[squared] * 2,
        information=[-math.expm1(-2 * nats)] * 2,
    )


def gaussian_pair(rho: float) -> Reach:
    """Return the reach of two standard normals, whose exact value is rho^2."""
    return reach_of_pair(
        lambda x, y: torch.exp(-(x.square() - 2 * rho * x * y + y.square()) / (2 * (1 - rho**2))),
        (-7, 7),
        (-7, 7),
    )


def ring(noise: float) -> Reach:
    """Return the reach of (cos t, sin t) plus N(0, noise^2) in both."""

    def density(x: Tensor, y: Tensor) -> Tensor:
        r = (x.square() + y.square()).sqrt()
        return torch.exp(-(r - 1).square() / (2 * noise**2)) * torch.special.i0e(r / noise**2)

    end = 1 + 7 * noise
    return reach_of_pair(density, (-end, end), (-end, end))


def parabola(noise: float) -> Reach:
    """Return the reach of (a, a^2 + noise b), a and b standard normal."""
    return reach_of_pair(
        lambda a, y: torch.exp(-a.square() / 2 - (y - a.square()).square() / (2 * noise**2)),
        (-5.5, 5.5),
        (-7 * noise, 31 + 7 * noise),
    )


def two_clusters(separation: float) -> Reach:
    """Return the reach of (s m, s m) plus N(0, 1) in both, s = +-1 with equal probability."""
    m, end = separation, separation + 7

    def density(x: Tensor, y: Tensor) -> Tensor:
        def near(s: float) -> Tensor:
            return torch.exp(-((x - s * m).square() + (y - s * m).square()) / 2)

        return near(1) + near(-1)

    return reach_of_pair(density, (-end, end), (-end, end))
