"""Checks for your own parts: the contract of each slot, tested as the package tests its own parts.

Each check returns None or raises `mmdprior.InputError` with one line that names what is wrong. None of
them needs pytest.

Example:
    >>> import torch
    >>> from mmdprior.testing import check_prior
    >>> check_prior(lambda n, dim: torch.randn(n, dim).abs(), dim=3)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmdprior.testing.kernels import check_kernel
    from mmdprior.testing.models import check_model
    from mmdprior.testing.predictors import check_predictor
    from mmdprior.testing.priors import check_prior
    from mmdprior.testing.regularizers import check_regularizer
    from mmdprior.testing.sources import check_source

__all__ = [
    "check_kernel",
    "check_model",
    "check_predictor",
    "check_prior",
    "check_regularizer",
    "check_source",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{name.removeprefix('check_')}s"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
