"""Standardising codes by their batch, with a gradient."""

from jaxtyping import Float
from torch import Tensor

__all__ = ["MIN_VARIANCE", "standardised"]

MIN_VARIANCE = 1e-6
"""Lower bound on the variance by which codes are divided, so that collapsed codes have a gradient."""


def standardised(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return codes with mean 0 and variance 1 over the batch; constant dimensions become 0."""
    centred = z - z.mean(0)
    return centred / centred.square().mean(0).clamp(min=MIN_VARIANCE).sqrt()
