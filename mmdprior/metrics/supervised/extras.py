"""scikit-learn and SciPy, imported on first use: neither is a requirement of the package."""

import importlib
from typing import Any

from mmdprior.errors import InputError

__all__ = ["optional"]


def optional(module: str, purpose: str) -> Any:
    """Return a module of scikit-learn or SciPy.

    Args:
        module: dotted name, such as ``"sklearn.ensemble"``.
        purpose: score that needs it, for the error.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"scores: {purpose!r} received; it needs scikit-learn, pip install 'mmdprior[metrics]'"
        ) from None
