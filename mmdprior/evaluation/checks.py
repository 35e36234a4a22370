"""Codes that cannot be scored, and codes that can but should be looked at."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.data.arrays import to_numbers
from mmdprior.errors import InputError

__all__ = ["check_codes", "concerns"]

_ROWS = 2000
_SAME = 1 - 1e-6
_NAMED = 8


def check_codes(codes: Tensor | np.ndarray) -> Float[Tensor, "n d"]:
    """Return codes as a floating tensor on their device, or raise `InputError` saying what is wrong."""
    z = _as_tensor(codes).detach()
    n, d = z.shape
    if d < 2:
        raise InputError(f"codes: {d} column received; predicting one from the others needs 2")
    if n < max(30, d + 2):
        raise InputError(f"codes: {n} rows received for {d} columns; give at least {max(30, d + 2)}")
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    if bool(torch.isfinite(z.sum())):
        return z
    bad = torch.cat([~torch.isfinite(part).all(1) for part in z.split(1 << 16)])
    if bool(bad.any()):  # else the sum alone overflowed
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


def concerns(
    codes: Tensor | np.ndarray, z: Float[Tensor, "n d"], active: Bool[Tensor, "d"]
) -> tuple[str, ...]:
    """Return what a reader of the score should know about the codes, a sentence each.

    Args:
        codes: as they were received.
        z: the same after `check_codes`.
        active: dimensions that are scored.
    """
    found = []
    n, d = z.shape
    if n < 10 * d:
        found.append(f"{n} rows for {d} columns: fewer than 10 a column, so scores are noisy and too low")
    kind = str(codes.dtype).removeprefix("torch.")
    if kind in ("float16", "bfloat16", "half"):
        found.append(f"codes in {kind}: rounding hides weak dependence and makes ties; save float32")
    constant = (z == z[0]).all(0).nonzero().flatten().tolist()
    if constant:
        found.append(f"constant {_columns(constant)}: neither predicted nor used")
    rows = z[:: max(1, n // _ROWS)]
    integer = ((rows == rows.round()).all(0) & active).nonzero().flatten().tolist()
    if integer:
        found.append(f"integers alone in {_columns(integer)}: ties bend ranks and bins")
    twins = _twins(rows, active)
    if twins:
        pairs = ", ".join(f"{i} = {j}" for i, j in twins[:_NAMED])
        more = f" and {len(twins) - _NAMED} more pairs" if len(twins) > _NAMED else ""
        found.append(f"duplicated columns (up to scale and shift): {pairs}{more}")
    return tuple(found)


def _columns(indices: list[int]) -> str:
    named = ", ".join(map(str, indices[:_NAMED]))
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return f"column{'s' if len(indices) > 1 else ''} {named}{more}"


def _twins(rows: Tensor, active: Tensor) -> list[tuple[int, int]]:
    """Return pairs of active columns whose correlation over some rows is one but for rounding."""
    scaled = rows.cpu().double() / rows.abs().amax(0).clamp(min=1e-300).cpu().double()
    centred = scaled - scaled.mean(0)
    unit = centred / centred.norm(dim=0).clamp(min=1e-300)
    same = ((unit.T @ unit).abs() > _SAME) & active.cpu() & active.cpu()[:, None]
    return [(i, j) for i, j in same.triu(1).nonzero().tolist()]
