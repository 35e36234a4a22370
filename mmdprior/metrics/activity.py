"""Dimensions that carry information, and how many directions the codes fill."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.metrics.covariance import covariance_of, spectral_rank
from mmdprior.predictors.moments import mean_and_std

__all__ = ["active_columns", "active_dimensions", "effective_rank"]

_ACTIVE_SHARE = 0.01
_SPREAD_SHARE = 1e-3


def active_dimensions(latent: Latent) -> Bool[Tensor, "d"]:
    """Dimensions that carry information about the image.

    With a posterior variance, Var_x(mean_i) > .01 (Var_x(mean_i) + E_x var_i): one mask for means and
    samples, since a collapsed dimension flatters the score of the samples (pure noise) and inflates
    that of the means. Without one, standard deviation above 1e-3 of the largest.
    """
    dtype = torch.promote_types(latent.mean.dtype, torch.float32)
    spread = latent.mean.to(dtype).var(0)
    if latent.log_var is None:
        return (spread.sqrt() > 1e-3 * spread.sqrt().max()) & (spread > 0)
    return spread > _ACTIVE_SHARE * (spread + latent.log_var.to(dtype).exp().mean(0))


def active_columns(z: Tensor, active: Tensor | np.ndarray | None) -> Tensor:
    """Return the dimensions to score: those given, or those whose spread is over 1e-3 of the largest."""
    if active is None:
        _, std = mean_and_std(z)
        return (std > _SPREAD_SHARE * std.max()) & (std > 0)
    mask = torch.as_tensor(active, dtype=torch.bool, device=z.device)
    if mask.shape != (z.shape[1],):
        raise InputError(f"active: shape {tuple(mask.shape)} received; give ({z.shape[1]},)")
    return mask


def effective_rank(codes: Float[Tensor, "n d"]) -> float:
    """Exponential of the entropy of the covariance's normalised eigenvalues (Roy & Vetterli, 2007).

    Between 1, all variance in one direction, and d, equal variance in all; NaN without any variance.
    """
    return spectral_rank(covariance_of(codes)) if codes.numel() else math.nan


def _effective_rank(z: Tensor) -> float:
    """Exponential of the entropy of the covariance's normalised eigenvalues; NaN without columns."""
    if z.shape[1] == 0:
        return math.nan
    scaled = _scaled(z)
    scaled = _scaled(scaled - scaled.mean(0)).float()  # centred before it is rounded
    values = torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(scaled.T)).double().cpu()).clamp(min=0)
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def _scaled(z: Tensor) -> Tensor:
    """Divide by the largest magnitude, so that no square overflows."""
    return z / z.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
