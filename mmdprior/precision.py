"""Precision of numbers: float64, and full precision under autocast and TF32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmdprior.errors import InputError

__all__ = ["full_convolutions", "full_matmul", "full_precision", "in_float64", "to_numbers"]


def in_float64(z: Tensor) -> Tensor:
    """Return z in float64, on the CPU where its device has none (MPS)."""
    return z.cpu().double() if z.device.type == "mps" else z.double()


def full_matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiply in full precision: neither autocast nor TF32 reaches float64."""
    if x.device.type == "mps":
        with torch.autocast("mps", enabled=False):
            return x @ y
    return (x.double() @ y.double()).to(x.dtype)


def full_precision(device_type: str) -> AbstractContextManager[None]:
    """Switch autocast and reduced-precision matrix products off for the length of a block.

    An MMD is a small difference of large means: ten mantissa bits would drown it.
    """
    return nullcontext() if _in_force(device_type) else _switched(device_type)


def _in_force(device_type: str) -> bool:
    """Log whether nothing needs to be switched; asking is cheaper than switching."""
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
def _switched(device_type: str) -> Iterator[None]:
    with torch.autocast(device_type, enabled=False):
        if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
            with _ieee():
                yield
        else:
            with _highest():
                yield


@contextmanager
def _ieee() -> Iterator[None]:
    """Set torch's precision per backend; its older setting refuses to be read once these are used."""
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
def _highest() -> Iterator[None]:
    """Set the precision of torch releases that know one setting for all backends."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def full_convolutions() -> Iterator[None]:
    """Switch off TF32 convolutions, the default on GPUs that have them; they keep ten mantissa bits."""
    cudnn: Any = torch.backends.cudnn
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
    """Return an array of real numbers as a tensor, of float64 where torch lacks its type.

    Raises:
        InputError: text, objects, complex numbers or dates.
    """
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: {array.dtype} entries received; give real numbers")
    known = {np.dtype(kind) for kind in (np.float16, np.float32, np.float64, np.int64)}
    plain = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=plain if plain in known else np.float64))
