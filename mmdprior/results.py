"""Base class of all results: plain numbers, JSON, text, and HTML for notebooks."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np

__all__ = ["Result", "finite_or_none", "to_plain"]


class Result:
    """Base class of result dataclasses.

    Subclasses are dataclasses that define ``__str__``. They override `to_dict`
    where the JSON is not a plain copy of the fields.

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

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings, lists and dicts; numbers that are not finite become None."""
        return {name: to_plain(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    def to_json(self) -> str:
        """Return `to_dict` as JSON text; None becomes null."""
        return json.dumps(self.to_dict(), indent=2)

    def _repr_html_(self) -> str:
        """Return the text of the result for a notebook."""
        return f"<pre>{escape(str(self))}</pre>"


def to_plain(value: Any) -> Any:
    """Return arrays as lists and numbers that are not finite as None, at any depth."""
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: to_plain(entry) for name, entry in value.items()}
    return finite_or_none(value) if isinstance(value, float) else value


def finite_or_none(value: float) -> float | None:
    """Return a finite number unchanged, and otherwise None."""
    return value if math.isfinite(value) else None
