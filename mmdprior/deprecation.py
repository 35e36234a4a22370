"""Old names of moved objects, importable with a warning for one release."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["moved"]


def moved(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` (PEP 562) that resolves old names with a DeprecationWarning.

    Args:
        module: name of the module that used to define the names.
        names: new location by old name, as ``package.module:name``.

    Returns:
        The function to assign to ``__getattr__`` in that module.

    Example:
        >>> from mmdprior.deprecation import moved
        >>> old = moved("mypackage", {"Gaussian": "mmdprior.models:GaussianLikelihood"})
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     old("Gaussian").__name__
        'GaussianLikelihood'
        >>> print(caught[0].message)
        mypackage.Gaussian is now mmdprior.models.GaussianLikelihood; the old name will be removed in the
        next release
    """

    def attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        location, _, new_name = names[name].partition(":")
        warnings.warn(
            f"{module}.{name} is now {location}.{new_name}; the old name will be removed in the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(location), new_name)

    return attribute
