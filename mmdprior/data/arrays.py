"""Images, signals and vectors in NumPy files, and vectors in tables."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmdprior.data.factor_files import LABEL_KEYS, encode_columns, read_factors
from mmdprior.data.features import FEATURE_KEYS, check_resolution, kind_of_array, read_features, to_samples
from mmdprior.data.known_factors import KnownFactors
from mmdprior.data.pixel_range import BYTES, PixelRange, RangeSetting, infer_range
from mmdprior.data.source import InMemory, SampleKind, Source, check_kind
from mmdprior.data.table import is_table
from mmdprior.errors import InputError, InputWarning, reason
from mmdprior.precision import to_numbers

__all__ = ["arrays", "read_array"]

_IMAGE_KEYS = ("images", "imgs")
_FACTOR_KEYS = ("factors", "latents_classes")
"""Names of arrays of labels that are known factors of variation."""
_CHUNK = 1024
"""Images scaled at a time."""


def arrays(
    path: str,
    test_path: str | None = None,
    background: int | str | Sequence[int] | None = None,
    value_range: RangeSetting = None,
    kind: SampleKind | None = None,
    drop: Sequence[str | int] | None = None,
    factors: str | None = None,
) -> Source:
    """Open images, signals or vectors from a ``.npz`` or ``.npy`` file, or vectors from a table of text.

    Args:
        path: a ``.npy`` file, a ``.csv``, ``.tsv`` or ``.txt`` table, or a ``.npz`` file with an array
            ``images`` (or ``imgs``), ``signals``, ``vectors``, ``features`` or ``mean`` and optionally
            ``factors``, ``latents_classes``, ``labels`` or ``targets``, one row per sample. Images have shape
            (n, H, W), (n, H, W, C) or (n, C, H, W), with 1 to 4 channels where the two could be confused.
            Signals have shape (n, C, T) or (n, T), vectors (n, p).
        test_path: a file of the same kind with the test images; by default there are none.
        background: colour over which images of 2 or 4 channels, the last of them alpha, are composited: a
            name, '#rrggbb', a grey level, or [red, green, blue] from 0 to 255. By default all channels are
            kept.
        value_range: stored values of black and white. By default they follow from both files: booleans, and
            uint8 or uint16 of 0 and 1, are black and white; other uint8 are from 0 to 255; uint16 have 8, 10,
            12, 14 or 16 bits, whichever suffices; floats are in [0, 1]. A mapping such as ``{uint16: [0,
            4095]}`` gives the range of files of this type only.
        kind: ``images``, ``signals`` or ``vectors``. By default it follows from the name of the array, or
            arrays of two axes are vectors, and those of three and four images.
        drop: columns of a table that are no features, by name or by position from 0. By default none is, and
            a table with columns of labels or row numbers is refused.
        factors: known factors of variation, for supervised scores, in place of the labels: the name of an
            array of the ``.npz`` files, with the names of its columns in ``factor_names``; or ``FILE`` or
            ``FILE:KEY`` with one row per sample of ``path``, and then of ``test_path``, see
            `mmdprior.data.factor_files.read_factors`. By default arrays ``factors`` and ``latents_classes``
            are factors.

    Raises:
        InputError: a file is missing, holds pickled objects or no samples, its values are not finite, the
            range of the pixels is unknown, or float32 does not resolve a feature of ``path``.

    Example:
        >>> import numpy as np
        >>> from mmdprior.data import arrays
        >>> np.savez("shapes.npz", images=np.zeros((50, 32, 32), np.uint8), factors=np.zeros((50, 4), int))
        >>> train = arrays("shapes.npz").train
        >>> len(train), train.image_shape, train.label_names
        (50, (1, 32, 32), ('factors_0', 'factors_1', 'factors_2', 'factors_3'))
        >>> np.save("spectra.npy", np.random.default_rng(0).normal(size=(50, 2, 300)))
        >>> arrays("spectra.npy", kind="signals").train.image_shape
        (2, 300)
    """
    check_kind(kind)
    files = [_read(path, kind, drop)]
    if test_path is not None:
        files.append(_read(test_path, files[0].kind, drop))
    if factors is not None:
        files = _with_factors(files, factors)
    if files[0].kind != "images":
        for key, value in (("background", background), ("value_range", value_range)):
            if value is not None:
                raise InputError(f"{key}: received for {files[0].kind}; only images have one, leave it out")
        sets = [_features(file) for file in files]
        check_resolution(files[0].path, files[0].stored, files[0].kind)
        return _source(files, sets, [])
    ranges = _ranges(files, value_range)
    if value_range is None:
        _warn_about_strips(files[0])
    sets, notes, found = [], [], {}
    for file in files:
        pixel_range = ranges[file.stored.dtype]
        images = _to_tensor(file.stored, pixel_range, background)
        known = file.factors
        sets.append(InMemory(images, file.labels, file.label_names, is_part=True, factors=known))
        found[file.stored.dtype.name] = pixel_range.black, pixel_range.white
        if pixel_range.white not in (255, 65535) and file.stored.dtype.kind in "iu":
            notes.append(f"{pixel_range.white:g} is white")
    if background is None and sets[0].image_shape[0] in (2, 4):
        notes.append(f"all {sets[0].image_shape[0]} channels are kept; give background to composite alpha")
    return replace(_source(files, sets, notes), value_ranges=found)


def read_array(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """Read a ``.npy`` file, or the arrays of a ``.npz`` file by name, without running code from it.

    Raises:
        InputError: the file is missing, damaged, of another kind or holds pickled objects.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a .npy or .npz file") from None
    except (EOFError, OSError, ValueError) as error:
        if _starts_as_array(path) and "allow_pickle" not in str(error):
            raise InputError(f"{path}: damaged or truncated ({reason(error)}); copy the file again") from None
        raise InputError(
            f"{path}: not a plain .npy or .npz of numbers (pickled objects are never read)"
        ) from None
    except Exception as error:  # zipfile.BadZipFile and zlib.error have no narrower common base class
        raise InputError(f"{path}: damaged ({reason(error)}); copy the file again") from None


def _starts_as_array(path: str | Path) -> bool:
    """Return whether a file is empty or starts as a ``.npy`` file."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return np.lib.format.MAGIC_PREFIX.startswith(file.read(len(np.lib.format.MAGIC_PREFIX)))


@dataclass(frozen=True)
class _File:
    """Content of a file.

    Attributes:
        path: the file.
        kind: what its rows are.
        stored: images (n, C, H, W), signals or vectors as they are stored.
        labels: (n, k) labels; None without any.
        label_names: one name per label column.
        factors: which labels are known factors; None if none is.
        may_be_signals: whether images were stored with three axes, and nothing says that they are no signals.
    """

    path: str
    kind: SampleKind
    stored: np.ndarray
    labels: Tensor | None = None
    label_names: tuple[str, ...] = ()
    factors: KnownFactors | None = None
    may_be_signals: bool = False


def _read(path: str, kind: SampleKind | None, drop: Sequence[str | int] | None) -> _File:
    if isinstance(drop, str | int):
        raise InputError(f"drop: {drop!r} received; give a list, [{drop!r}]")
    if is_table(path):
        if kind not in (None, "vectors"):
            raise InputError(f"kind: {kind!r} received for {path}; a table holds vectors")
        return _File(path, "vectors", read_features(path, drop))
    if drop is not None:
        raise InputError(
            f"drop: {list(drop)} received for {path}; only tables have columns to drop, leave it out"
        )
    content = read_array(path)
    arrays_by_name = {"": content} if isinstance(content, np.ndarray) else content
    key = next((name for name in ("", *_IMAGE_KEYS, *FEATURE_KEYS) if name in arrays_by_name), None)
    if key is None:
        others = ", ".join(map(repr, FEATURE_KEYS))
        raise InputError(
            f"{path}: arrays {sorted(arrays_by_name)} received; name the images 'images', or other data one "
            f"of {others}"
        )
    stored = arrays_by_name[key]
    labels, names, factors = _labels(path, arrays_by_name)
    actual = kind or kind_of_array(key, stored, _IMAGE_KEYS)
    if actual != "images":
        return _File(path, actual, stored, labels, names, factors)
    doubtful = kind is None and stored.ndim == 3 and key not in _IMAGE_KEYS
    return _File(path, actual, _channels_first(path, stored), labels, names, factors, doubtful)


def _labels(
    path: str, content: Mapping[str, np.ndarray]
) -> tuple[Tensor | None, tuple[str, ...], KnownFactors | None]:
    """Return the labels among the arrays of a file, their names, and which are factors."""
    key = next((key for key in LABEL_KEYS if key in content), None)
    if key is None:
        return None, (), None
    labels = to_numbers(np.atleast_1d(content[key]), f"{path}: {key}")
    labels = labels[:, None] if labels.ndim == 1 else labels
    names = tuple(f"{key}_{i}" for i in range(labels.shape[1]))
    return labels, names, KnownFactors(dict.fromkeys(names)) if key in _FACTOR_KEYS else None


def _with_factors(files: Sequence[_File], location: str) -> list[_File]:
    """Return the files with other labels: the columns of an array of each of them, or of one other file."""
    tables = []
    if all(Path(file.path).suffix.lower() == ".npz" and location in _names(file.path) for file in files):
        tables = [read_factors(f"{file.path}:{location}", "factors") for file in files]
        rows = [len(next(iter(table.values()))) for table in tables]
    else:
        tables = [read_factors(location, "factors")]
        rows = [len(next(iter(tables[0].values())))]
    samples = [len(file.stored) for file in files]
    if sum(rows) != sum(samples) or (len(rows) > 1 and rows != samples):
        raise InputError(f"factors: {location}: {rows} rows for {samples} samples; give one row per sample")
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    table, texts = encode_columns(columns)
    known = KnownFactors({name: "discrete" if name in texts else None for name in columns})
    parts = torch.from_numpy(table).split(samples)
    return [
        replace(file, labels=part, label_names=tuple(columns), factors=known)
        for file, part in zip(files, parts, strict=True)
    ]


def _names(path: str) -> list[str]:
    with np.load(path, allow_pickle=False) as archive:
        return list(archive.files)


def _features(file: _File) -> InMemory:
    """Return the vectors or signals of a file."""
    samples = to_samples(file.path, file.stored, file.kind)
    try:
        return InMemory(
            samples, file.labels, file.label_names, is_part=True, kind=file.kind, factors=file.factors
        )
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from None


def _source(files: Sequence[_File], sets: Sequence[InMemory], notes: Sequence[str]) -> Source:
    counts = (f"{len(part)} {file.kind} in {file.path}" for part, file in zip(sets, files, strict=True))
    summary = "; ".join([" and ".join(counts), *dict.fromkeys(notes)])
    return Source(sets[0], sets[1] if len(sets) > 1 else None, summary=summary)


def _channels_first(path: str, images: np.ndarray) -> np.ndarray:
    """Return images as (n, C, H, W).

    The channels are the second or the last axis, whichever has 1 or 3 entries, otherwise 2 or 4. Without
    either they are the axis that differs from two equal ones, the sides of square images, and without squares
    the last axis if it is the smallest of the three. Otherwise the second axis has precedence. There is a
    warning if both axes have 1 to 4 entries, or neither has and the second is not the smallest, unless the
    images are square.
    """
    if images.dtype.kind not in "buif":
        raise InputError(f"{path}: images of type {images.dtype} received; give uint8 or floats in [0, 1]")
    if images.ndim == 3 and images.size:
        return images[:, None]
    if images.ndim != 4 or images.size == 0:
        raise InputError(
            f"{path}: images of shape {images.shape} received; give (n, H, W[, C]) or (n, C, H, W), or kind: "
            "vectors for (n, features)"
        )
    stored, (_, first, middle, last) = images.shape, images.shape
    few = (first <= 4) + (last <= 4)
    counts = next((counts for counts in ((1, 3), (2, 4)) if first in counts or last in counts), ())
    is_last = first not in counts if counts else first == middle != last or last < min(first, middle)
    images = images.transpose(0, 3, 1, 2) if is_last else images
    _, channels, height, width = images.shape
    if height != width and (few == 2 or (few == 0 and first >= min(middle, last))):
        warnings.warn(
            f"data: {path}: shape {stored} is read as images of {channels} channels with {height} x {width} "
            "pixels; pad them to squares if this is wrong",
            InputWarning,
            stacklevel=4,
        )
    return images


def _warn_about_strips(file: _File) -> None:
    """Warn about integers of three axes, read as grey images, whose height or width is that of channels."""
    height, width = file.stored.shape[2:]
    if file.may_be_signals and file.stored.dtype.kind != "f" and height != width and min(height, width) <= 4:
        warnings.warn(
            f"data: {file.path} is read as images of {height} x {width}; give kind: signals if its shape is "
            "(n, channels, length), another axis if it is one image, otherwise kind: images",
            InputWarning,
            stacklevel=3,
        )


def _ranges(files: Sequence[_File], value_range: RangeSetting) -> dict[np.dtype, PixelRange]:
    """Return the range of the pixels by dtype, from all files together."""
    chosen, trained = PixelRange.of(value_range), PixelRange.by_dtype(value_range)
    extremes: dict[np.dtype, tuple[float, float]] = {}
    for file in files:
        images = file.stored
        if images.dtype.kind == "f":
            _check_finite(file.path, images)
        low, high = extremes.get(images.dtype, (math.inf, -math.inf))
        extremes[images.dtype] = min(low, float(images.min())), max(high, float(images.max()))
    first = files[0]
    try:
        ranges = {dtype: infer_range(dtype, *limits, chosen, trained) for dtype, limits in extremes.items()}
    except InputError as error:
        text = str(error)
        if text.startswith("value_range"):
            raise
        others = ", or kind: signals for (n, channels, length)" if first.may_be_signals else ""
        raise InputError(f"{first.path}: {text}{others}") from None
    height, width = first.stored.shape[2:]
    if first.may_be_signals and first.stored.dtype.kind == "f" and height != width and chosen is None:
        warnings.warn(
            f"data: {first.path} is read as images of {height} x {width}; give kind: signals if its shape is "
            "(n, channels, length), otherwise kind: images",
            InputWarning,
            stacklevel=3,
        )
    return ranges


def _check_finite(path: str, images: np.ndarray) -> None:
    bad = ~np.isfinite(images).all(axis=(1, 2, 3))
    if bad.any():
        raise InputError(
            f"{path}: NaN or infinity in {bad.sum()} of {len(bad)} images, the first at row {bad.argmax()}; "
            "remove or repair them"
        )


def _to_tensor(
    stored: np.ndarray, pixel_range: PixelRange, background: int | str | Sequence[int] | None
) -> Tensor:
    """Return images as uint8 where they have at most 8 bits, otherwise as float32 in [0, 1]."""
    has_bytes = stored.dtype.kind in "bui" and pixel_range.black == 0 and pixel_range.white <= 255
    scale, dtype = (pixel_range.to_uint8, np.uint8) if has_bytes else (pixel_range.to_float, np.float32)
    if stored.dtype == np.uint8 and pixel_range == BYTES:
        images = torch.from_numpy(np.ascontiguousarray(stored))
    else:
        scaled = np.empty(stored.shape, dtype)
        for start in range(0, len(stored), _CHUNK):  # scaling needs float64, which all images may not fit in
            scaled[start : start + _CHUNK] = scale(stored[start : start + _CHUNK])
        images = torch.from_numpy(scaled)
    if background is None or images.shape[1] not in (2, 4):
        return images
    return _over(images, background)


def _over(images: Tensor, background: int | str | Sequence[int]) -> Tensor:
    """Return images without their last channel, alpha, composited over a colour."""
    from mmdprior.data.pillow import background_colour

    white = 255 if images.dtype == torch.uint8 else 1
    colour = torch.tensor(background_colour(background)) / 255 * white
    if images.shape[1] == 2:
        colour = colour @ torch.tensor([0.299, 0.587, 0.114])  # the grey level, ITU-R 601
    ink, alpha = images[:, :-1].float(), images[:, -1:].float() / white
    opaque = ink * alpha + colour.reshape(-1, 1, 1) * (1 - alpha)
    return opaque.round().to(torch.uint8) if white == 255 else opaque.clamp(0, 1)
