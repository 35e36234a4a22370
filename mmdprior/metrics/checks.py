"""Checks of codes before they are scored: errors for invalid codes, warnings for doubtful ones."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import to_numbers

__all__ = ["check_codes", "code_warnings"]

_ROWS = 2000
"""Rows inspected for integers and duplicates, evenly spaced."""
_SAME = 1 - 1e-6
"""Absolute correlation from which two columns count as duplicates."""
_MAX_LISTED = 8
_TINY = 1e-300
_MIN_ROWS = 30
_ROWS_PER_COLUMN = 10


def check_codes(codes: Tensor | np.ndarray) -> Float[Tensor, "n d"]:
    """Return codes as a float32 or float64 tensor on their device.

    Raises:
        InputError: codes are not a dense (n, d) array of finite real numbers, d is below 2, or n is below
            max(30, d + 2).
    """
    z = _as_tensor(codes).detach()
    n, d = z.shape
    if d < 2:
        raise InputError(f"codes: {d} column received; predicting one from the others needs 2")
    needed = max(_MIN_ROWS, d + 2)
    if n < needed:
        raise InputError(f"codes: {n} rows received for {d} columns; give at least {needed}")
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    if bool(torch.isfinite(z.sum())):
        return z
    # The sum of large finite codes may overflow, so look for the rows.
    bad = torch.cat([~torch.isfinite(part).all(1) for part in z.split(1 << 16)])
    if bool(bad.any()):
        raise InputError(
            f"codes: NaN or infinity in {int(bad.sum())} of {n} rows, the first at row "
            f"{int(bad.int().argmax())}; remove those rows"
        )
    return z


def _as_tensor(codes: Tensor | np.ndarray) -> Tensor:
    if isinstance(codes, np.ndarray):
        codes = to_numbers(codes, "codes")
    if not isinstance(codes, Tensor) or codes.is_complex() or codes.is_quantized:
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise InputError(f"codes: {kind} received; give an (n, d) array of real numbers")
    if codes.layout != torch.strided or codes.device.type == "meta":
        raise InputError(f"codes: {codes.layout} on {codes.device} received; give a dense array")
    if codes.ndim != 2:
        raise InputError(f"codes: shape {tuple(codes.shape)} received; give two axes, (n, d)")
    return codes


def code_warnings(
    codes: Tensor | np.ndarray, z: Float[Tensor, "n d"], active: Bool[Tensor, "d"]
) -> tuple[str, ...]:
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
    kind = str(codes.dtype).removeprefix("torch.")
    if kind in ("float16", "bfloat16", "half"):
        texts.append(f"codes in {kind}: rounding hides weak dependence and makes ties; save float32")
    constant = (z == z[0]).all(0).nonzero().flatten().tolist()
    if constant:
        texts.append(f"constant {_columns(constant)}: neither predicted nor used as input")
    rows = z[:: max(1, n // _ROWS)]
    integer = ((rows == rows.round()).all(0) & active).nonzero().flatten().tolist()
    if integer:
        texts.append(f"only integers in {_columns(integer)}: ties distort ranks and bins")
    duplicates = _duplicates(rows, active)
    if duplicates:
        pairs = ", ".join(f"{i} = {j}" for i, j in duplicates[:_MAX_LISTED])
        more = len(duplicates) - _MAX_LISTED
        texts.append(
            f"duplicated columns (up to scale and shift): {pairs}"
            + (f" and {more} more pairs" if more > 0 else "")
        )
    return tuple(texts)


def _columns(indices: list[int]) -> str:
    named = ", ".join(map(str, indices[:_MAX_LISTED]))
    more = f" and {len(indices) - _MAX_LISTED} more" if len(indices) > _MAX_LISTED else ""
    return f"column{'s' if len(indices) > 1 else ''} {named}{more}"


def _duplicates(rows: Tensor, active: Tensor) -> list[tuple[int, int]]:
    """Return pairs of active columns whose absolute correlation is 1 up to rounding."""
    scaled = rows.cpu().double() / rows.abs().amax(0).clamp(min=_TINY).cpu().double()
    centred = scaled - scaled.mean(0)
    unit = centred / centred.norm(dim=0).clamp(min=_TINY)
    same = ((unit.T @ unit).abs() > _SAME) & active.cpu() & active.cpu()[:, None]
    return [(i, j) for i, j in same.triu(1).nonzero().tolist()]
