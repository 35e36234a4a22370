"""Base class of all results: plain numbers, JSON, text, and HTML for notebooks."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from html import escape
from typing import Any

import numpy as np

__all__ = ["Result", "finite_or_none", "to_plain"]


class Result:
    """Base class of result dataclasses.

    Subclasses are dataclasses that define ``__str__``. They override `to_dict`
    where the JSON is not a plain copy of the fields. Two results are equal if all fields that are compared
    are equal, arrays in shape and in every entry; NaN equals NaN. A result with one main number defines
    ``__float__``; a format such as ``f"{result:.3f}"`` then formats this number.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Error(Result):
        ...     mse: float
        ...     psnr: float
        >>> print(Error(mse=0.0, psnr=float("inf")).to_json())
        {
          "mse": 0.0,
          "psnr": null
        }
    """

    def __init_subclass__(cls) -> None:
        # `dataclass` would compare the fields as tuples, which raises an error for arrays. It keeps what
        # the class defines itself.
        cls.__eq__ = Result.__eq__  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        """Return whether class and fields are equal; NaN equals NaN."""
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]  # type: ignore[arg-type]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)

    def __format__(self, spec: str) -> str:
        """Return the main number in a format, or the text without a format or a main number."""
        main: Any = self
        return format(float(main), spec) if spec and hasattr(self, "__float__") else format(str(self), spec)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts; numbers that are not finite become None."""
        return {name: to_plain(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return `to_dict` as JSON text; None becomes null."""
        return json.dumps(self.to_dict(), indent=2)

    def _repr_html_(self) -> str:
        """Return the text of the result for a notebook."""
        return f"<pre>{escape(str(self))}</pre>"


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal at any depth; NaN equals NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "shape") and hasattr(other, "shape"):  # arrays and tensors
        same = (one == other) | ((one != one) & (other != other)) if one.shape == other.shape else False
        return bool(same if isinstance(same, bool) else same.all())
    return bool(one == other) or (one != one and other != other)


def to_plain(value: Any) -> Any:
    """Return arrays as lists and numbers that are not finite as None, at any depth."""
    if isinstance(value, (np.ndarray, np.generic)):
        return to_plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: to_plain(entry) for name, entry in value.items()}
    return finite_or_none(value) if isinstance(value, float) else value


def finite_or_none(value: float) -> float | None:
    """Return a finite number unchanged, and otherwise None."""
    return value if math.isfinite(value) else None
