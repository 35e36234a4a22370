"""Old names of moved objects, importable with a warning for one release."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["moved", "moved_method"]


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


def moved_method(old: str, place: str) -> Callable[..., Any]:
    """Return a method that calls the function that replaces it, with a DeprecationWarning.

    The function is imported when the method is called, so its module may import the class of the method.

    Args:
        old: name of the method, as ``Class.method``.
        place: the function, as ``package.module:name``; its first argument is the object.

    Example:
        >>> import warnings
        >>> from mmdprior.deprecation import moved_method
        >>> class Array(list):
        ...     median = moved_method("Array.median", "statistics:median")
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     Array([1, 2, 9]).median()
        2
        >>> print(caught[0].message)
        Array.median is now statistics.median; the old name will be removed in the next release
    """
    location, _, name = place.partition(":")

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        warnings.warn(
            f"{old} is now {location}.{name}; the old name will be removed in the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(location), name)(self, *arguments, **options)

    return method
