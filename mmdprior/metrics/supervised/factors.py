"""Factors of variation: kind, levels, values and missing entries of every column of a factor table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.atoms import Cells
from mmdprior.choices import FactorKind as Kind
from mmdprior.errors import InputError, shorten

__all__ = ["Factor", "Factors", "Kind", "read_factors"]

Factors = Tensor | np.ndarray | Mapping[str, Any]

_KINDS = get_args(Kind)
_MAX_LEVELS = 256
"""Distinct numbers up to which a column is detected as ordinal."""
_ROWS_PER_INTEGER = 2
_ROWS_PER_NUMBER = 10
"""Mean rows per distinct value from which integers, and other numbers, are detected as ordinal."""
_ROWS_PER_BIN = 10
_MISSING = -1
_LOOKUP = 1 << 16
"""Range of integers whose levels are found by a lookup table instead of by sorting."""
_PHASE_DIGITS = 9


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of variation of n samples.

    Attributes:
        name: name of the factor.
        kind: what its values mean, see `disentanglement`.
        levels: (n,) level of every sample, from 0 to ``num_levels - 1``; -1 where the value is missing.
        values: (n, p) numbers that codes are correlated with: the value (p = 1), or cosine and sine of a
            circular factor (p = 2). Missing values are 0. None for a discrete factor, whose levels have no
            order.
        num_levels: number of distinct levels, or of bins of a continuous factor.
    """

    name: str
    kind: Kind
    levels: Int[Tensor, "n"]
    values: Float[Tensor, "n p"] | None
    num_levels: int

    @property
    def missing(self) -> int:
        """Number of samples whose value is missing."""
        return int((self.levels < 0).sum())

    def classes(self) -> tuple[Bool[Tensor, "n"], Int[Tensor, "k"], Int[Tensor, "m"]]:
        """Return which values are present, the k levels that occur, and each value's position among them."""
        present = self.levels >= 0
        levels = self.levels[present]
        occurs = torch.bincount(levels, minlength=self.num_levels) > 0
        return present, occurs.nonzero()[:, 0], (occurs.cumsum(0) - 1)[levels]

    def targets(self) -> Float[Tensor, "n p"]:
        """Return the numbers that a regression predicts: the values, or indicators of discrete levels."""
        if self.values is not None:
            return self.values
        return torch.nn.functional.one_hot(self.levels.clamp(min=0), self.num_levels).double()

    def take(self, rows: Int[Tensor, "m"]) -> "Factor":
        """Return the factor of some samples, with unchanged levels."""
        values = None if self.values is None else self.values[rows]
        return Factor(self.name, self.kind, self.levels[rows], values, self.num_levels)

    def to(self, device: torch.device) -> "Factor":
        """Return the factor on a device."""
        values = None if self.values is None else self.values.to(device)
        return Factor(self.name, self.kind, self.levels.to(device), values, self.num_levels)


def read_factors(
    factors: Factors,
    rows: int,
    *,
    names: Sequence[str] | None = None,
    kinds: Kind | Sequence[Kind] | Mapping[str, Kind] | None = None,
    periods: Mapping[str, float] | None = None,
    missing: float | Literal["auto"] | None = "auto",
    bins: int = 20,
) -> tuple[list[Factor], list[str]]:
    """Return the factors of a table, and one sentence per value or column that was interpreted.

    Args:
        factors: table of factors, see `disentanglement`.
        rows: number of codes.
        names: names of the columns of an array.
        kinds: kind of all factors, of every column, or of some columns by name.
        periods: period of circular factors by name.
        missing: marker of missing values, see `disentanglement`.
        bins: largest number of quantile bins of a continuous factor.

    Raises:
        InputError: shapes, names or kinds do not fit, or a number is infinite.
    """
    columns = _columns(factors, rows, names)
    declared = _declared_kinds(list(columns), kinds, periods or {})
    result, notes = [], []
    for name, column in columns.items():
        period = (periods or {}).get(name)
        factor, texts = _read_column(name, column, declared.get(name), period, missing, bins)
        result.append(factor)
        notes += texts
    return result, notes


def _columns(factors: Factors, rows: int, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return the columns of a table by name."""
    if hasattr(factors, "keys"):
        frame: Any = factors  # a mapping, or a data frame
        columns = {str(name): _array(frame[name]) for name in frame.keys()}  # noqa: SIM118
        if names is not None:
            raise InputError("names: received for a table whose columns have names; leave it out")
    else:
        table = _array(factors)
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2:
            raise InputError(f"factors: shape {table.shape} received; give (n, factors)")
        names = [f"factor_{k}" for k in range(table.shape[1])] if names is None else list(names)
        if len(set(names)) != len(names) or len(names) != table.shape[1]:
            raise InputError(f"names: {names} received; give {table.shape[1]} distinct names")
        columns = {name: table[:, k] for k, name in enumerate(names)}
    if not columns:
        raise InputError("factors: no column received; give at least one factor")
    for name, column in columns.items():
        if column.shape != (rows,):
            raise InputError(
                f"factors: {name!r} has shape {column.shape}; give one value per code, ({rows},)"
            )
    return columns


def _array(values: Any) -> np.ndarray:
    """Return numbers, or text in which a missing entry is empty."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind == "O":
        empty = np.array([entry is None for entry in array.flat], dtype=bool).reshape(array.shape)
        try:
            return np.where(empty, math.nan, array).astype(float)
        except (TypeError, ValueError):
            return np.where(empty, "", array).astype(str)
    if array.dtype.kind not in "biufUS":
        raise InputError(f"factors: {array.dtype} entries received; give numbers or text")
    return array.astype(str) if array.dtype.kind == "S" else array


def _declared_kinds(
    names: list[str],
    kinds: Kind | Sequence[Kind] | Mapping[str, Kind] | None,
    periods: Mapping[str, float],
) -> dict[str, Kind]:
    """Return the declared kinds by name; a factor with a period is circular."""
    if kinds is None:
        declared: dict[str, Any] = {}
    elif isinstance(kinds, str):
        declared = dict.fromkeys(names, kinds)
    elif isinstance(kinds, Mapping):
        declared = dict(kinds)
    elif len(kinds) == len(names):
        declared = dict(zip(names, kinds, strict=True))
    else:
        raise InputError(f"kinds: {len(kinds)} received for {len(names)} factors; give one per factor")
    for name in [*declared, *periods]:
        if name not in names:
            raise InputError(f"kinds, periods: {name!r} received; give one of {shorten(str(names))}")
    for name, period in periods.items():
        if not (math.isfinite(period) and period > 0) or declared.setdefault(name, "circular") != "circular":
            raise InputError(
                f"periods: {period!r} received for {name!r}; give a positive number, circular kind"
            )
    for name, kind in declared.items():
        if kind not in _KINDS:
            raise InputError(f"kinds: {kind!r} received for {name!r}; expected one of {', '.join(_KINDS)}")
    return declared


def _read_column(
    name: str,
    column: np.ndarray,
    kind: Kind | None,
    period: float | None,
    missing: float | Literal["auto"] | None,
    bins: int,
) -> tuple[Factor, list[str]]:
    """Return the factor of one column, and what was detected in it."""
    if column.dtype.kind == "U":
        if kind not in (None, "discrete"):
            raise InputError(f"kinds: {kind!r} received for {name!r}, which is text; expected discrete")
        levels, count = _levels_of_text(column)
        return Factor(name, "discrete", torch.from_numpy(levels), None, count), []
    numbers = column.astype(np.float64)
    if np.isinf(numbers).any():
        raise InputError(f"factors: infinity in {name!r}; give finite numbers, and NaN where one is missing")
    present, notes = _present(name, numbers, missing)
    values = numbers[present]
    many = _has_many_values(values)
    if kind is None:
        kind = "continuous" if many else "ordinal"
        if many:
            notes.append(
                f"factor {name!r}: {len(np.unique(values))} distinct values in {len(values)} rows, so it is "
                f"scored as continuous, in up to {bins} bins of equal frequency; "
                f"kinds={{{name!r}: 'ordinal'}} keeps the values"
            )
    values = _phases(values, period) if kind == "circular" else values
    binned = kind == "continuous" or (kind == "circular" and many)
    levels = np.full(len(numbers), _MISSING, dtype=np.int64)
    levels[present], count = _quantile_levels(values, bins) if binned else _distinct_levels(values)
    spread = np.zeros((len(numbers), 2 if kind == "circular" else 1))
    angles = 2 * math.pi * values
    spread[present] = np.stack([np.cos(angles), np.sin(angles)] if kind == "circular" else [values], 1)
    tensor = None if kind == "discrete" else torch.from_numpy(spread)
    return Factor(name, kind, torch.from_numpy(levels), tensor, count), notes


def _levels_of_text(column: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the level of every text in alphabetical order, -1 where it is empty."""
    texts, levels = np.unique(column, return_inverse=True)
    if len(texts) and texts[0] == "":
        return levels - 1, len(texts) - 1
    return levels, len(texts)


def _present(
    name: str, numbers: np.ndarray, missing: float | Literal["auto"] | None
) -> tuple[np.ndarray, list[str]]:
    """Return which numbers are not missing.

    By default -1 is missing where it is the only negative number of a column with at least two others. It
    is therefore a level of a column of -1 and 1.
    """
    present = ~np.isnan(numbers)
    if missing is None:
        return present, []
    if missing != "auto":
        return present & (numbers != missing), []
    negative = numbers < 0
    marked = numbers == _MISSING
    if not marked.any() or (negative & ~marked).any() or len(np.unique(numbers[present & ~marked])) < 2:
        return present, []
    text = f"factor {name!r}: -1 is read as missing in {int(marked.sum())} rows; missing=None keeps it"
    return present & ~marked, [text]


def _has_many_values(values: np.ndarray) -> bool:
    """Return whether numbers are too many, or too rarely equal, for levels."""
    distinct = _distinct_levels(values)[1]
    rows = _ROWS_PER_INTEGER if (values == np.round(values)).all() else _ROWS_PER_NUMBER
    return distinct > 2 and (distinct > _MAX_LEVELS or distinct * rows > len(values))


def _phases(values: np.ndarray, period: float | None) -> np.ndarray:
    """Return circular values as parts of a period from 0 to 1.

    The default period is the number of integers from the smallest to the largest one, or 2 pi for other
    numbers.
    """
    if period is None:
        integers = len(values) > 0 and (values == np.round(values)).all()
        period = float(values.max() - values.min() + 1) if integers else 2 * math.pi
    return np.mod(np.round(values / period, _PHASE_DIGITS), 1.0)


def _distinct_levels(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the index of every value among the distinct values."""
    if not len(values):
        return values.astype(np.int64), 0
    low, high = values.min(), values.max()
    if high - low < _LOOKUP and (values == np.round(values)).all():
        offsets = (values - low).astype(np.int64)
        table = np.bincount(offsets) > 0
        return (np.cumsum(table) - 1)[offsets], int(table.sum())
    distinct, levels = np.unique(values, return_inverse=True)
    return levels, len(distinct)


def _quantile_levels(values: np.ndarray, bins: int) -> tuple[np.ndarray, int]:
    """Return the bin of every value, with bins of equal frequency and at least ten values each.

    A value that many rows share (an atom, see `mmdprior.atoms`) has a bin of its own.
    """
    if len(values) == 0:
        return _distinct_levels(values)
    column = torch.from_numpy(values)[None, :, None]
    cells = Cells(column, max(2, min(bins, len(values) // _ROWS_PER_BIN)), _ROWS_PER_BIN)
    return _distinct_levels(cells(column).flatten().double().numpy())
