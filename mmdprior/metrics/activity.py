"""Active dimensions of codes, and the effective rank of their covariance."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.metrics.covariance import covariance_of, spectral_rank
from mmdprior.predictors.moments import mean_and_std

__all__ = ["active_dimensions", "effective_rank", "select_dimensions"]

_MIN_VARIANCE_SHARE = 0.01
_MIN_RELATIVE_STD = 1e-3


def active_dimensions(codes: Latent | Float[Tensor, "n d"]) -> Bool[Tensor, "d"]:
    """Return which dimensions carry information about the data.

    With posterior variances, dimension i is active if Var_x(mean_i) > 0.01 (Var_x(mean_i) + E_x var_i).
    Without them (a deterministic posterior or plain codes), it is active if its standard deviation is above
    1e-3 of the largest one.

    The means and the samples of a stochastic encoder share one mask. Otherwise a collapsed dimension would
    lower the LPS of the samples, where it is pure noise, and raise the LPS of the means, where its tiny
    values are often predictable.

    Args:
        codes: codes of a model, or plain codes with one row per sample.

    Example:
        >>> import torch
        >>> from mmdprior import Latent
        >>> from mmdprior.metrics import active_dimensions
        >>> mean = torch.tensor([[-1.0, 0.01], [1.0, -0.01]])
        >>> active_dimensions(mean)
        tensor([True, True])
        >>> active_dimensions(Latent(mean, mean, log_var=torch.zeros(2, 2)))
        tensor([ True, False])
    """
    if isinstance(codes, Tensor):
        codes = Latent(codes, codes)
    mean = codes.mean.to(torch.promote_types(codes.mean.dtype, torch.float32))
    if codes.log_var is None:
        _, std = mean_and_std(mean)
        return (std > _MIN_RELATIVE_STD * std.max()) & (std > 0)
    between = mean.var(0)
    within = codes.log_var.to(mean.dtype).exp().mean(0)
    return between > _MIN_VARIANCE_SHARE * (between + within)


def select_dimensions(z: Float[Tensor, "n d"], active: Tensor | np.ndarray | None) -> Bool[Tensor, "d"]:
    """Return the mask of dimensions to score: ``active`` on the device of z, or the active dimensions of z.

    Raises:
        InputError: ``active`` is not of shape (d,).
    """
    if active is None:
        return active_dimensions(z)
    mask = torch.as_tensor(active, dtype=torch.bool, device=z.device)
    if mask.shape != (z.shape[1],):
        raise InputError(f"active: shape {tuple(mask.shape)} received; give ({z.shape[1]},)")
    return mask


def effective_rank(codes: Float[Tensor, "n d"]) -> float:
    """Return the exponential of the entropy of the covariance's normalised eigenvalues.

    This is the effective rank of Roy & Vetterli (2007). It is 1 if all variance is in one direction, and d if
    it is equal in all directions. It is NaN for codes without variance.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import effective_rank
        >>> plane = torch.randn(1000, 2) @ torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> effective_rank(plane) < 2.001
        True
    """
    return spectral_rank(covariance_of(codes)) if codes.numel() else math.nan
