"""Determine from a sample of image files how all of them are decoded."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from mmdprior.data.pillow import SIXTEEN_BITS, Decoder, is_transparent, open_image
from mmdprior.data.pixel_range import BYTES, PixelRange, RangeSetting, infer_range
from mmdprior.errors import InputError

__all__ = ["decoder_for"]

_FILES = 200
"""Largest number of files that are opened."""
_BYTES = 1 << 26
"""Total size of the files that are opened, unless the first is larger."""

_LOSSLESS = ("BMP", "GIF", "PNG", "PPM", "TIFF")
"""Formats in which files of 8 bits may hold class labels."""

_ENOUGH = {"uint8": 31, "uint16": 16383}
"""Value above which the range of the data set is known."""


def decoder_for(
    files: Sequence[Path], decoder: Decoder, value_range: RangeSetting
) -> tuple[Decoder, list[str], dict[str, tuple[float, float]]]:
    """Return a decoder with the pixel ranges of a data set, notes on what it does, and ranges by dtype.

    The ranges are those that follow from the files.

    Files that cannot be read are left to the decoder, which names them.

    Args:
        files: all image files of the data set.
        decoder: the decoder without pixel ranges.
        value_range: the range that the user gives, for all files or by dtype; None to infer it.

    Raises:
        InputError: the range is unknown, or the files are outside the one that the user gives.
    """
    chosen, trained = PixelRange.of(value_range), PixelRange.by_dtype(value_range)
    sample = _Sample()
    for file in _spread(files):
        try:
            with open_image(file) as image:
                sample.add(image, file, decide=chosen is None)
        except InputError:
            continue
    if chosen is not None:
        return replace(decoder, eight_bits=chosen, sixteen_bits=chosen, others=chosen), sample.notes(), {}
    ranges = {}
    for dtype, (low, high) in sample.extremes.items():
        try:
            ranges[dtype] = infer_range(np.dtype(dtype), low, high, trained=trained)
        except InputError as error:
            raise InputError(f"root: {sample.locate(dtype, str(error))}") from None
    decoder = replace(
        decoder,
        eight_bits=ranges.get("uint8", BYTES),
        sixteen_bits=ranges.get("uint16", SIXTEEN_BITS),
        others=ranges.get("float32"),
    )
    by_dtype = {dtype: (limits.black, limits.white) for dtype, limits in ranges.items()}
    return decoder, [*_range_notes(decoder), *sample.notes()], by_dtype


@dataclass
class _Sample:
    """What the opened files have in common.

    Attributes:
        extremes: smallest and largest stored value by dtype, of files whose format does not fix the range.
        extreme_files: the file of the largest value by dtype, or the first one with NaN or infinity.
        transparent: number of files with transparency.
        animated: number of files with several frames.
    """

    extremes: dict[str, tuple[float, float]] = field(default_factory=dict)
    extreme_files: dict[str, Path] = field(default_factory=dict)
    transparent: int = 0
    animated: int = 0

    def add(self, image: Image.Image, file: Path, *, decide: bool) -> None:
        """Add an opened file; its pixels are decoded only if they may decide the range."""
        self.animated += bool(getattr(image, "is_animated", False))
        if is_transparent(image):
            self.transparent += 1
            return  # colours of transparent pixels are arbitrary
        dtype = _open_dtype(image)
        if not decide or dtype is None:
            return
        low, high = self.extremes.get(dtype, (math.inf, -math.inf))
        if high <= _ENOUGH.get(dtype, math.inf):
            pixels = np.asarray(image)
            darkest, lightest = float(pixels.min()), float(pixels.max())
            known = dtype in self.extremes
            finite = math.isfinite(darkest) and math.isfinite(lightest)
            if not known or (
                math.isfinite(low) and math.isfinite(high) and not (finite and lightest <= high)
            ):
                self.extreme_files[dtype] = file
            # NumPy's functions keep NaN.
            self.extremes[dtype] = float(np.minimum(low, darkest)), float(np.maximum(high, lightest))

    def locate(self, dtype: str, problem: str) -> str:
        """Return an error about the extremes of a dtype with the file that has them."""
        file = self.extreme_files[dtype]
        if not all(map(math.isfinite, self.extremes[dtype])):
            return f"{file}: {problem}"
        outlier = dtype == "float32" and self.extremes[dtype][1] > 1
        return f"{problem}; the largest is in {file}" if outlier else problem

    def notes(self) -> list[str]:
        """Return a phrase per kind of file of which not all is kept."""
        notes = []
        if self.transparent:
            notes.append("transparent files are composited over the background")
        if self.animated:
            notes.append("only the first frame or page of a file is read")
        return notes


def _spread(files: Sequence[Path]) -> Iterator[Path]:
    """Yield some files, evenly spaced."""
    count, size = min(_FILES, len(files)), 0
    for i in range(count):
        file = files[i * len(files) // count]
        yield file
        size += file.stat().st_size
        if size > _BYTES:
            return


def _open_dtype(image: Image.Image) -> str | None:
    """Return the dtype of stored values whose range is not fixed by the format and mode of a file."""
    if image.mode.startswith("I;16"):
        return "uint16"
    if image.mode in ("I", "F") and image.format != "PPM":
        return "int32" if image.mode == "I" else "float32"
    return "uint8" if image.mode in ("L", "RGB") and image.format in _LOSSLESS else None


def _range_notes(decoder: Decoder) -> list[str]:
    """Return a phrase per pixel range that is not the usual one."""
    notes = []
    if decoder.eight_bits != BYTES:
        notes.append(f"{decoder.eight_bits.white:g} is white in files of 8 bits")
    if decoder.sixteen_bits != SIXTEEN_BITS:
        notes.append(f"{decoder.sixteen_bits.white:g} is white in files of 16 bits")
    return notes
