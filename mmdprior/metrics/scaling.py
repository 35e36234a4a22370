"""Scale of columns: exact powers of two that keep squares finite."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["divided", "scale_exponents", "unit_scale"]

_SAFE_EXPONENT = 60
"""Columns whose largest entry is between 2^-60 and 2^60 are not scaled."""


def unit_scale(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return columns of huge or tiny entries times powers of two, so that their largest entries are near 1.

    Sums of squares then neither overflow nor underflow. Powers of two change no digit, and R2, ranks and
    correlations have no scale. Codes without such columns are returned unchanged, without a copy.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.scaling import unit_scale
        >>> z = torch.tensor([[3e200, 1.0], [-1e200, 2.0]], dtype=torch.float64)
        >>> unit_scale(z).abs().amax(0)
        tensor([0.9798, 2.0000], dtype=torch.float64)
    """
    exponents = scale_exponents(z)
    if not bool(exponents.any()):
        return z
    return divided(z, exponents)


def divided(z: Float[Tensor, "n d"], exponents: Int[Tensor, "d"]) -> Float[Tensor, "n d"]:
    """Return columns divided by powers of two."""
    # In two steps: one power of two can itself be out of range.
    half = exponents // 2
    return torch.ldexp(torch.ldexp(z, -half), half - exponents)


def scale_exponents(z: Float[Tensor, "n d"]) -> Int[Tensor, "d"]:
    """Return the exponents of the powers of two that `unit_scale` divides columns by; 0 for most."""
    if len(z) == 0:
        return torch.zeros(z.shape[1], dtype=torch.int32, device=z.device)
    largest = torch.maximum(z.amax(0), -z.amin(0))
    exponents = torch.frexp(largest).exponent
    return torch.where((exponents.abs() > _SAFE_EXPONENT) & (largest > 0), exponents, 0)
