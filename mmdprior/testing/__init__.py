"""Checks that your own parts satisfy the contracts of the package.

    =====================  ======================================================
    `check_prior`          a prior, or a sampling function that takes its place
    `check_kernel`         a kernel
    `check_regularizer`    a regularizer
    `check_predictor`      a predictor for LPS
    `check_model`          encoder, decoder, posterior and likelihood
    `check_quantiser`      a quantiser of codes
    `check_source`         a data source
    `check_bijection`      an invertible map of codes
    =====================  ======================================================

The package's own parts are tested with the same functions. Each returns None, or raises `mmdprior.InputError`
with one line that names the violation. They do not need pytest, but fit in one of its tests.

Example:
    >>> import torch
    >>> from mmdprior.testing import check_prior
    >>> check_prior(lambda n, dim: torch.randn(n, dim).abs(), dim=3)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdprior.testing.bijections import check_bijection
    from mmdprior.testing.kernels import check_kernel
    from mmdprior.testing.models import check_model
    from mmdprior.testing.predictors import check_predictor
    from mmdprior.testing.priors import check_prior
    from mmdprior.testing.quantisers import check_quantiser
    from mmdprior.testing.regularizers import check_regularizer
    from mmdprior.testing.sources import check_source

__all__ = [
    "check_bijection",
    "check_kernel",
    "check_model",
    "check_predictor",
    "check_prior",
    "check_quantiser",
    "check_regularizer",
    "check_source",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{name.removeprefix('check_')}s"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
