"""Rules that choose the bandwidth of a radial kernel.

Every rule gives a typical squared distance R between two draws, and each kernel converts it to its own
parameter: RBF uses l^2 = R / 2, IMQ uses C = R. A rule therefore means the same for every kernel.
``sqrt_dim`` gives the common l = sqrt(d), and for N(0, I) the C = 2d of WAE-MMD (arXiv 1711.01558).
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.distance import squared_distance
from mmdprior.priors import Prior
from mmdprior.priors.arguments import is_number
from mmdprior.seeding import stream

__all__ = ["Rule", "check_bandwidth", "median_of_prior", "median_squared_distance"]

Rule = Literal["sqrt_dim", "median_prior", "median_batch"]
"""``sqrt_dim``: R = 2d. ``median_prior``: median over pairs of different prior draws, computed once, when the
kernel is bound. ``median_batch``: median over the pooled batch and prior draws (the first 512 rows of each),
computed for every estimate and without gradient."""

_PRIOR_DRAWS = 1024
_MIN_BANDWIDTH = 1e-9
_MAX_BANDWIDTH = 1 / _MIN_BANDWIDTH


def check_bandwidth(name: str, value: float | Rule) -> float | Rule:
    """Return a bandwidth that is a positive number or the name of a rule.

    Args:
        name: argument name for the error.
        value: what the user passed.

    Raises:
        InputError: the number is out of range, or the rule is unknown.
    """
    if isinstance(value, str):
        if value not in get_args(Rule):
            raise InputError(f"{name}: {value!r} received; give a positive number or {get_args(Rule)}")
        return value
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not is_number(value) or not _MIN_BANDWIDTH <= value <= _MAX_BANDWIDTH:
        raise InputError(
            f"{name}: {value} received; give a number from {_MIN_BANDWIDTH:g} to {_MAX_BANDWIDTH:g} or one "
            f"of {get_args(Rule)}"
        )
    return float(value)


def median_of_prior(prior: Prior) -> float:
    """Return the median squared distance between 1,024 prior draws from a fixed random stream.

    Raises:
        InputError: the median is zero or not finite.
    """
    draws = prior.sample(_PRIOR_DRAWS, stream(0, "bandwidth", device=prior.device))
    median = float(median_squared_distance(draws))
    if not 0 < median < math.inf:
        raise InputError(
            f"kernel: the median squared distance between draws of {type(prior).__name__} is {median}; "
            "give the bandwidth as a number"
        )
    return median


def median_squared_distance(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return the median squared distance over pairs of different rows, without gradient; 0 without any.

    Equal rows are left out. Where many rows are equal, as those of sparse codes, the median over all pairs is
    zero, or the rounding error of a zero.
    """
    with torch.no_grad():
        upper = torch.triu_indices(x.shape[0], x.shape[0], offset=1, device=x.device)
        distances = squared_distance(x, x)[upper[0], upper[1]]
        group = _equal_rows(x)
        different = group[upper[0]] != group[upper[1]]
        median = torch.where(different, distances, torch.nan).nanmedian()
        return torch.where(different.any(), median, torch.zeros_like(median))


def _equal_rows(x: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
    """Return a number per row that is the same for equal rows.

    Rows are sorted by a projection in which different rows hardly ever agree; equal rows are then neighbours.
    """
    projection = torch.cos(torch.arange(x.shape[1], device=x.device, dtype=x.dtype))
    order = (x * projection).sum(1).argsort()
    ordered = x[order]
    changes = (ordered[1:] != ordered[:-1]).any(1).cumsum(0)
    return torch.zeros_like(order).scatter(0, order[1:], changes)
