"""Float64, and full float32 precision under autocast and TF32."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.tracing import constant_in_graphs, is_traced

__all__ = [
    "full_convolutions",
    "full_matmul",
    "full_precision",
    "full_precision_dtype",
    "in_float64",
    "to_numbers",
]


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

    A compiled graph cannot change the precision of matrix products. There only autocast is switched off, and
    `full_precision_dtype` gives the dtype to compute in.

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
    if device_type == "meta":  # no autocast
        return nullcontext()
    if torch.compiler.is_compiling():
        autocast = torch.is_autocast_enabled(device_type)
        return torch.autocast(device_type, enabled=False) if autocast else nullcontext()
    # Reading the settings costs less than setting them.
    is_full = not torch.is_autocast_enabled(device_type) and _has_full_products()
    return nullcontext() if is_full else _full(device_type)


def full_precision_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the dtype in which to compute with tensors: their common one, at least float32.

    It is float64 where torch traces or transforms the call (`is_traced`) and float32 products have reduced
    precision, such as TF32. A compiled graph cannot change this setting, and the backward pass of a transform
    does not, while float64 products do not depend on it.

    Example:
        >>> import torch
        >>> from mmdprior.precision import full_precision_dtype
        >>> full_precision_dtype(torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16))
        torch.float32
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    reduced = is_traced() and tensors[0].device.type != "mps" and not _has_full_products()
    return torch.float64 if reduced else dtype


# Dynamo cannot trace the settings. It evaluates this once per graph, and compiles again when TF32 changes.
@constant_in_graphs
def _has_full_products() -> bool:
    """Return whether float32 products have full precision under the current settings."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        return torch.get_float32_matmul_precision() == "highest"
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
    numbers = np.ascontiguousarray(array, dtype=native if native in kept else np.float64)
    with warnings.catch_warnings():
        # Files opened with mmap_mode="r" cannot be written to, and nothing here writes to them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(numbers)
