"""Active dimensions of codes, and the effective rank of their covariance."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError, shorten
from mmdprior.latent import Latent
from mmdprior.metrics.covariance import covariance_of, spectral_rank
from mmdprior.metrics.scaling import scale_exponents, unit_scale
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import mean_and_std

__all__ = ["ActiveLike", "active_dimensions", "constant_columns", "effective_rank", "select_dimensions"]

ActiveLike = Any
"""Dimensions to score: d booleans or distinct indices, as a tensor, an array or a list; None by default."""

_MIN_VARIANCE_SHARE = 0.01
_ROUNDINGS = 4
"""Range of a constant column, in units of the rounding error of its largest entry."""


def active_dimensions(codes: Latent | Float[Tensor, "n d"]) -> Bool[Tensor, "d"]:
    """Return which dimensions carry information about the data.

    With posterior variances, dimension i is active if Var_x(mean_i) > 0.01 (Var_x(mean_i) + E_x var_i).
    Without them (a deterministic posterior or plain codes), it is active unless it is constant to rounding:
    R2 has no scale, so dimensions of any scale are scored.

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
        return ~constant_columns(mean)
    # Var(mean) > s (Var(mean) + E var) in logarithms: variances of any size neither overflow nor underflow.
    _, std = mean_and_std(unit_scale(mean))
    log_between = 2 * (std.log() + scale_exponents(mean) * math.log(2))
    log_within = in_float64(codes.log_var).logsumexp(0) - math.log(len(mean))
    threshold = math.log(_MIN_VARIANCE_SHARE / (1 - _MIN_VARIANCE_SHARE))
    return log_between > (threshold + log_within).to(log_between)


def constant_columns(z: Float[Tensor, "n d"]) -> Bool[Tensor, "d"]:
    """Return which columns are constant up to the rounding of their entries.

    Example:
        >>> import torch
        >>> from mmdprior.metrics.activity import constant_columns
        >>> z = torch.tensor([[0.1, 1e-6, 1e8], [0.1, 2e-6, 1e8 + 8.0]])  # float32 has steps of 8 at 1e8
        >>> constant_columns(z)
        tensor([ True, False,  True])
    """
    if len(z) == 0:
        return torch.ones(z.shape[1], dtype=torch.bool, device=z.device)
    low, high = z.amin(0), z.amax(0)
    largest = torch.maximum(high, -low)
    # The halves of the largest entries can be subtracted without overflow.
    return high / 2 - low / 2 <= _ROUNDINGS / 2 * torch.finfo(z.dtype).eps * largest


def select_dimensions(z: Float[Tensor, "n d"], active: ActiveLike) -> Bool[Tensor, "d"]:
    """Return the mask of dimensions to score: those of ``active`` that are not constant, or all of these.

    Args:
        z: codes after `check_codes`.
        active: d booleans, or the distinct indices of some dimensions; None for `active_dimensions`.

    Raises:
        InputError: ``active`` is neither.
    """
    varying = active_dimensions(z)
    if active is None:
        return varying
    d = z.shape[1]
    values = active.detach().cpu().numpy() if isinstance(active, Tensor) else np.asarray(active)
    if values.dtype == bool:
        if values.shape != (d,):
            raise InputError(f"active: shape {values.shape} received; give ({d},)")
        return torch.from_numpy(values.copy()).to(z.device) & varying
    listed = values.ravel().tolist()
    indices = values.ndim == 1 and values.dtype.kind in "iu" and len(set(listed)) == len(listed)
    if not indices or not set(listed) <= set(range(d)):
        received = shorten(" ".join(str(values.tolist()).split()))
        raise InputError(
            f"active: {received} received; give {d} booleans, or distinct indices from 0 to {d - 1}"
        )
    mask = torch.zeros(d, dtype=torch.bool)
    mask[listed] = True
    return mask.to(z.device) & varying


def effective_rank(codes: Float[Tensor, "n d"]) -> float:
    """Return the exponential of the entropy of the covariance's normalised eigenvalues.

    This is the effective rank of Roy & Vetterli (2007). It is 1 if all variance is in one direction, and d if
    it is equal in all directions. It is NaN for codes without variance or of fewer
    than two rows.

    Example:
        >>> import torch
        >>> from mmdprior.metrics import effective_rank
        >>> plane = torch.randn(1000, 2) @ torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> effective_rank(plane) < 2.001
        True
    """
    return spectral_rank(covariance_of(codes)) if len(codes) > 1 and codes.numel() else math.nan
