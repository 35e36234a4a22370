"""Checks of codes before they are scored: errors for invalid codes, warnings for doubtful ones."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.columns import counting_columns
from mmdprior.errors import InputError
from mmdprior.metrics.activity import constant_columns
from mmdprior.metrics.inputs import CodesLike, to_tensor
from mmdprior.metrics.scaling import unit_scale
from mmdprior.predictors.moments import mean_and_std

__all__ = ["check_codes", "code_warnings", "rows_needed"]

_ROWS = 2000
"""Rows inspected for integers and duplicates, evenly spaced."""
_SAME = 1 - 1e-6
"""Absolute correlation from which two columns count as duplicates."""
_MAX_LISTED = 8
_OUTLIER_SHARE = 0.5
"""Share of a column's variance in one row from which it is reported."""
_TINY = 1e-300
_MIN_ROWS = 30
_ROWS_PER_COLUMN = 10


def rows_needed(d: int) -> int:
    """Return the smallest number of rows that d columns are scored with."""
    return max(_MIN_ROWS, d + 2)


def check_codes(
    codes: CodesLike, *, min_columns: int = 2, min_rows: int | None = None
) -> Float[Tensor, "n d"]:
    """Return codes as a float32 or float64 tensor on their device.

    Args:
        codes: one row per sample.
        min_columns: smallest number of columns.
        min_rows: smallest number of rows; max(30, d + 2) by default.

    Raises:
        InputError: codes are not a dense (n, d) array of finite real numbers, or have too few rows or
            columns.
    """
    z = to_tensor(codes)
    _check_shape(z, min_columns, min_rows)
    if not z.is_floating_point():
        # float32 has 24 bits, so it holds integers of up to 16 bits exactly.
        z = z.float() if z.element_size() <= 2 else z.double()
    half = z.dtype not in (torch.float32, torch.float64)
    z = z.float() if half else z
    if bool(torch.isfinite(z.sum())):
        return z
    # The sum of large finite codes may overflow, so look for the rows.
    bad = torch.cat([~torch.isfinite(part).all(1) for part in z.split(1 << 16)])
    if bool(bad.any()):
        overflow = "; float16 overflows above 65504, save float32" if half else ""
        raise InputError(
            f"codes: NaN or infinity in {int(bad.sum())} of {len(z)} rows, the first at row "
            f"{int(bad.int().argmax())}; remove those rows{overflow}"
        )
    return z


def _check_shape(z: Tensor, min_columns: int, min_rows: int | None) -> None:
    """Raise `InputError` unless the tensor has two axes and enough rows and columns."""
    if z.ndim != 2:
        shape = f"codes: shape {tuple(z.shape)} received; give two axes, (n, d)"
        example = f", such as codes.reshape({len(z)}, -1)" if z.ndim > 2 else ""
        raise InputError(shape + example)
    n, d = z.shape
    if d < min_columns:
        reason = (
            "predicting one from the others needs 2" if min_columns == 2 else f"give at least {min_columns}"
        )
        raise InputError(f"codes: {d} column{'' if d == 1 else 's'} received; {reason}")
    needed = rows_needed(d) if min_rows is None else min_rows
    if n < needed:
        transpose = ", or codes.T if the rows are dimensions" if d > n and d >= _MIN_ROWS else ""
        raise InputError(f"codes: {n} rows received for {d} columns; give at least {needed}{transpose}")


def code_warnings(codes: CodesLike, z: Float[Tensor, "n d"], active: Bool[Tensor, "d"]) -> tuple[str, ...]:
    """Return one sentence per property of the codes that makes their score doubtful.

    Args:
        codes: codes as the user passed them.
        z: the same codes after `check_codes`.
        active: dimensions that are scored.
    """
    texts = []
    n, d = z.shape
    if n < _ROWS_PER_COLUMN * d:
        texts.append(
            f"{n} rows for {d} columns: fewer than {_ROWS_PER_COLUMN} rows per column, so scores are noisy "
            "and too low"
        )
    kind = str(getattr(codes, "dtype", "")).removeprefix("torch.")
    if kind in ("float16", "bfloat16", "half"):
        texts.append(f"codes in {kind}: rounding hides weak dependence and makes ties; save float32")
    constant = (constant_columns(z) & ~active).nonzero().flatten().tolist()
    if constant:
        texts.append(f"constant {_columns(constant, all_of_them=True)}: neither predicted nor used as input")
    rows = z[:: max(1, n // _ROWS)]
    integer = ((rows == rows.round()).all(0) & active).nonzero().flatten().tolist()
    if integer:
        texts.append(f"only integers in {_columns(integer)}: read as numbers; give classes as one-hot codes")
    counting = [column for column in counting_columns(z) if active[column]]
    if counting:
        texts.append(f"{_columns(counting)} number the rows, like an index or a time; leave them out")
    texts += _outlier_texts(z, active)
    duplicates = _duplicates(rows, active)
    if duplicates:
        pairs = ", ".join(f"{i} = {j}" for i, j in duplicates[:_MAX_LISTED])
        more = len(duplicates) - _MAX_LISTED
        texts.append(
            f"duplicated columns (up to scale and shift): {pairs}"
            + (f" and {more} more pairs" if more > 0 else "")
        )
    return tuple(texts)


def _outlier_texts(z: Float[Tensor, "n d"], active: Bool[Tensor, "d"]) -> list[str]:
    """Return a sentence about active columns whose variance is that of a single row."""
    scaled = unit_scale(z)
    mean, std = mean_and_std(scaled)
    mean, std = mean.cpu().double(), std.cpu().double()
    low, high = (f(scaled, 0).cpu().double() for f in (torch.amin, torch.amax))
    share = torch.maximum(high - mean, mean - low).square() / (len(z) * std.square()).clamp(min=_TINY)
    columns = ((share > _OUTLIER_SHARE) & active.cpu()).nonzero().flatten().tolist()
    if not columns:
        return []
    first = columns[0]
    row = int((scaled[:, first].cpu().double() - mean[first]).abs().argmax())
    return [
        f"one row has {100 * float(share[first]):.0f} % of the variance of {_columns(columns)} "
        f"(row {row} of column {first}); remove it if it is an error, or give transform='rank_gaussian'"
    ]


def _columns(indices: list[int], *, all_of_them: bool = False) -> str:
    """Return a list of columns, with runs as ``3-9``; only the first eight unless all are wanted."""
    shown = indices if all_of_them else indices[:_MAX_LISTED]
    runs: list[list[int]] = []
    for index in shown:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts = [[f"{r[0]}-{r[-1]}"] if len(r) > _MAX_LISTED else map(str, r) for r in runs]
    named = ", ".join(text for part in parts for text in part)
    more = f" and {len(indices) - len(shown)} more" if len(indices) > len(shown) else ""
    return f"column{'s' if len(indices) > 1 else ''} {named}{more}"


def _duplicates(rows: Tensor, active: Tensor) -> list[tuple[int, int]]:
    """Return pairs of active columns whose absolute correlation is 1 up to rounding."""
    scaled = unit_scale(rows).cpu().double()
    centred = scaled - scaled.mean(0)
    unit = centred / centred.norm(dim=0).clamp(min=_TINY)
    same = ((unit.T @ unit).abs() > _SAME) & active.cpu() & active.cpu()[:, None]
    return [(i, j) for i, j in same.triu(1).nonzero().tolist()]
