"""Float64, and full float32 precision under autocast and TF32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.errors import InputError

__all__ = ["full_convolutions", "full_matmul", "full_precision", "in_float64", "to_numbers"]


def in_float64(z: Tensor) -> Tensor:
    """Return a tensor in float64; on the CPU if its device has no float64 (MPS)."""
    return z.cpu().double() if z.device.type == "mps" else z.double()


def full_matmul(x: Tensor, y: Tensor) -> Tensor:
    """Return x @ y, computed in float64 because autocast and TF32 do not change float64 products.

    Args:
        x: (n, k) matrix.
        y: (k, m) matrix.

    Returns:
        (n, m) product, rounded to the dtype of x.
    """
    if x.device.type == "mps":
        with torch.autocast("mps", enabled=False):
            return x @ y
    return (x.double() @ y.double()).to(x.dtype)


def full_precision(device_type: str) -> AbstractContextManager[None]:
    """Return a context manager without autocast and reduced-precision matrix products.

    An MMD is a small difference of large means. The ten mantissa bits of TF32, or the seven of bfloat16,
    would make its rounding error larger than its value.

    Args:
        device_type: type of the devices whose autocast is switched off, such as ``"cuda"``.

    Example:
        >>> import torch
        >>> from mmdprior.precision import full_precision
        >>> x = torch.randn(8, 8)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     half = x @ x
        ...     with full_precision("cpu"):
        ...         full = x @ x
        >>> half.dtype, full.dtype
        (torch.bfloat16, torch.float32)
    """
    return nullcontext() if _is_full(device_type) else _full(device_type)


def _is_full(device_type: str) -> bool:
    """Return whether products already have full precision; reading the settings costs less than setting them.

    False on torch releases without settings per backend, where `_full` sets the precision in any case.
    """
    if torch.is_autocast_enabled(device_type) or not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        return False
    backends: Any = torch.backends
    settings = {
        backends.cuda.matmul.fp32_precision,
        backends.mkldnn.matmul.fp32_precision,
        backends.mkldnn.fp32_precision,
        backends.fp32_precision,
    }
    return settings <= {"ieee", "none"}


@contextmanager
def _full(device_type: str) -> Iterator[None]:
    with torch.autocast(device_type, enabled=False):
        if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
            with _ieee_backends():
                yield
        else:
            with _highest_setting():
                yield


@contextmanager
def _ieee_backends() -> Iterator[None]:
    """Set the precision per backend.

    The older setting for all backends cannot be read after one of these has been set.
    """
    mkldnn: Any = torch.backends.mkldnn
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def _highest_setting() -> Iterator[None]:
    """Set the precision on torch releases that have one setting for all backends."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def full_convolutions() -> Iterator[None]:
    """Return a context manager without TF32 convolutions.

    TF32, the default of GPUs that have it, keeps ten mantissa bits, so codes would differ between devices.
    """
    cudnn: Any = torch.backends.cudnn
    # Newer torch releases have a setting per kind of operation, older ones a flag for all of cuDNN.
    parts = [getattr(cudnn, name) for name in ("conv", "rnn") if hasattr(cudnn, name)]
    setting, exact = ("fp32_precision", "ieee") if parts else ("allow_tf32", False)
    parts = parts or [cudnn]
    before = [getattr(part, setting) for part in parts]
    try:
        for part in parts:
            setattr(part, setting, exact)
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            setattr(part, setting, value)


def to_numbers(array: np.ndarray, name: str) -> Tensor:
    """Return an array of real numbers as a tensor.

    Args:
        array: float16, float32, float64 and int64 arrays keep their dtype, others become float64.
        name: name of the array in the error message.

    Raises:
        InputError: the entries are text, objects, complex numbers or dates.
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: {array.dtype} entries received; give real numbers")
    kept = {np.dtype(kind) for kind in (np.float16, np.float32, np.float64, np.int64)}
    native = array.dtype.newbyteorder("=")  # torch has no other byte order
    return torch.from_numpy(np.ascontiguousarray(array, dtype=native if native in kept else np.float64))
