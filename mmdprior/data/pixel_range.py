"""Which stored pixel values are black and white. This is decided once per data set, not per image."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmdprior.errors import InputError

__all__ = ["BYTES", "PixelRange", "RangeSetting", "infer_range"]

_BITS = (8, 10, 12, 14, 16)
"""Bits per pixel of cameras and scanners."""

_LABELS = 31
"""Largest maximum of integers that may be the labels of a segmentation as well as images of 2 to 5 bits."""

_ROUNDING = 1e-5
"""Distance from [0, 1] that rounding explains."""


_DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64"),
    *("int8", "int16", "int32", "int64", "float16", "float32", "float64"),
)
"""Types of stored values."""

RangeSetting = Sequence[int | float] | Mapping[str, Sequence[int | float]] | None
"""``[black, white]``, or such a pair by the type of the stored values."""


@dataclass(frozen=True)
class PixelRange:
    """Stored values that are black and white.

    Attributes:
        black: stored value that becomes 0.
        white: stored value that becomes 1, or 255 in uint8.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data.pixel_range import PixelRange
        >>> PixelRange(0.0, 4095.0).to_uint8(np.array([0, 2048, 4095], np.uint16))
        array([  0, 128, 255], dtype=uint8)
    """

    black: float
    white: float

    @staticmethod
    def of(value_range: RangeSetting) -> "PixelRange | None":
        """Return the range that a user gives as ``[black, white]``; None if it is left to `infer_range`.

        A mapping, which `by_dtype` reads, leaves it to `infer_range`, too.

        Raises:
            InputError: not two finite numbers in increasing order.
        """
        if value_range is None or isinstance(value_range, Mapping):
            return None
        try:
            black, white = (float(value) for value in value_range)
        except (TypeError, ValueError):
            black, white = 0.0, 0.0
        if not -math.inf < black < white < math.inf:
            raise InputError(
                f"value_range: {value_range!r} received; give [black, white], two numbers in increasing order"
            )
        return PixelRange(black, white)

    @staticmethod
    def by_dtype(value_range: object) -> "dict[str, PixelRange]":
        """Return the ranges of a mapping such as ``{uint16: [0, 4095]}``; empty for anything else.

        Raises:
            InputError: an unknown type, or a range that is not two finite numbers in increasing order.
        """
        if not isinstance(value_range, Mapping):
            return {}
        for name in value_range:
            if name not in _DTYPES:
                raise InputError(f"value_range: {name!r} received; give one of {', '.join(_DTYPES)}")
        return {name: PixelRange.of(limits) or BYTES for name, limits in value_range.items()}

    def holds(self, low: float, high: float) -> bool:
        """Return whether values from ``low`` to ``high`` are in the range, up to rounding."""
        slack = _ROUNDING * (self.white - self.black)
        return self.black - slack <= low and high <= self.white + slack

    def check(self, low: float, high: float) -> None:
        """Raise `InputError` unless values from ``low`` to ``high`` are in the range, up to rounding."""
        if not math.isfinite(low) or not math.isfinite(high):
            raise InputError("NaN or infinity received; remove or repair the image")
        if not self.holds(low, high):
            raise InputError(
                f"values from {low:g} to {high:g} received, where black is {self.black:g} and white "
                f"{self.white:g}; give another value_range"
            )

    def to_float(self, pixels: np.ndarray) -> np.ndarray:
        """Return stored values as float32 in [0, 1].

        Raises:
            InputError: a value is NaN or outside the range.
        """
        if pixels.size:
            self.check(float(pixels.min()), float(pixels.max()))
        scaled = (pixels.astype(np.float64) - self.black) / (self.white - self.black)
        return scaled.clip(0, 1).astype(np.float32)

    def to_uint8(self, pixels: np.ndarray) -> np.ndarray:
        """Return stored values as uint8 from 0 to 255; see `to_float`."""
        if pixels.dtype == np.uint8 and self == BYTES:
            return pixels
        return (self.to_float(pixels) * 255).round().astype(np.uint8)


BYTES = PixelRange(0.0, 255.0)
"""The range of ordinary images of 8 bits."""


def infer_range(
    dtype: np.dtype,
    low: float,
    high: float,
    chosen: PixelRange | None = None,
    trained: Mapping[str, PixelRange] | None = None,
) -> PixelRange:
    """Return the stored values of black and white of a data set.

    - Booleans, and unsigned integers without a value above 1, are black and white.
    - Unsigned integers up to 31 are refused: they may be the labels of a segmentation.
    - Other uint8 are from 0 to 255. Wider unsigned integers have 8, 10, 12, 14 or 16 bits, the fewest that
      hold the largest value.
    - Floats are in [0, 1], up to rounding.

    Everything else has no fixed range and is refused unless the user gives one.

    Args:
        dtype: type of the stored values.
        low: smallest value of the data set.
        high: largest value of the data set.
        chosen: the range that the user gives; None to infer it.
        trained: ranges by the name of the type, those of the training images of a model. The range of a type
            that is not among them is inferred.

    Raises:
        InputError: values without a known range, or outside the one that the user gives or of training.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data.pixel_range import infer_range
        >>> infer_range(np.dtype(np.uint8), 0.0, 1.0)
        PixelRange(black=0.0, white=1.0)
        >>> infer_range(np.dtype(np.float32), -1.0, 1.0)
        Traceback (most recent call last):
        mmdprior.errors.InputError: float32 values from -1 to 1 received; scale them to [0, 1], or give
        value_range: [-1, 1]
    """
    if not math.isfinite(low) or not math.isfinite(high):
        raise InputError("NaN or infinity received; remove or repair those images")
    if chosen is not None:
        chosen.check(low, high)
        return chosen
    described = f"{dtype} values from {low:g} to {high:g} received"
    known = (trained or {}).get(dtype.name)
    if known is not None and not known.holds(low, high):
        raise InputError(
            f"{described}; those of the training images are from {known.black:g} to {known.white:g}; give "
            "images of this range, or the value_range of these"
        )
    if known is not None:
        return known
    if dtype.kind == "b" or (dtype.kind == "u" and high == 1):
        return PixelRange(0.0, 1.0)
    if dtype.kind == "u" and 1 < high <= _LABELS:
        raise InputError(
            f"{described}, which may be class labels; give value_range: [0, {high:g}] if {high:g} is white, "
            "or [0, 255] if the images are dark"
        )
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return PixelRange(0.0, float(_white(high)))
    if dtype.kind == "f" and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return PixelRange(0.0, 1.0)
    likely = "[BLACK, WHITE]"
    if low >= 0 and high < 1 << _BITS[-1]:
        likely = f"[0, {_white(high)}]"
    elif low >= -1 and high <= 1:
        likely = "[-1, 1]"
    wanted = "scale them to [0, 1]" if dtype.kind == "f" else "give uint8, uint16 or floats in [0, 1]"
    raise InputError(f"{described}; {wanted}, or give value_range: {likely}")


def _white(high: float) -> int:
    """Return the largest number of the fewest usual bits that hold a value."""
    return next((1 << bits) - 1 for bits in _BITS if high < 1 << bits)
