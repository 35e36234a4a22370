"""The contract of a kernel, and the precision in which kernels are evaluated."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.priors import Prior

__all__ = ["Kernel", "Sum", "full_precision"]


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switch autocast and reduced-precision matrix products off for the length of a block.

    An MMD is a small difference of large means: ten mantissa bits would drown it.
    """
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


class Kernel(nn.Module, ABC):
    """A positive definite function of pairs of codes.

    Calling a kernel gives the (n, m) matrix k(x_a, y_b), in float32 at least, whatever autocast or
    TF32 say. Subclasses write `evaluate`. A kernel that depends on the prior (by a bandwidth, say)
    resolves that in `bind`; one that depends on the batch in `adapt`.
    """

    def forward(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate the kernel on every pair of rows.

        Raises:
            InputError: not two axes, or different widths.
        """
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
            raise InputError(
                f"codes: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give (n, d) and (m, d)"
            )
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        with full_precision(x.device.type):
            return self.evaluate(x.to(dtype), y.to(dtype))

    @abstractmethod
    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate on inputs of equal width and type; full precision is in force."""

    def bind(self, prior: Prior) -> "Kernel":
        """Return the kernel to use against a prior; itself by default."""
        return self

    def adapt(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> "Kernel":
        """Return the kernel to use for one estimate on these two samples; itself by default.

        All three terms of an MMD must share one kernel, so whatever a batch decides is decided here.
        """
        return self


class Sum(Kernel):
    """Weighted sum of kernels, sum_i w_i k_i.

    Args:
        kernels: at least one.
        weights: positive numbers, one a kernel; ones by default.

    Raises:
        InputError: no kernels, or weights that are not one positive number a kernel.
    """

    def __init__(self, kernels: Sequence[Kernel], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not kernels:
            raise InputError("kernels: an empty list received; give at least one kernel")
        self.kernels = nn.ModuleList(kernels)
        self.weights = [1.0] * len(kernels) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(kernels) or not all(0 < w < float("inf") for w in self.weights):
            raise InputError(f"weights: {weights} received; give {len(kernels)} positive numbers")

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate every term and add."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for weight, kernel in zip(self.weights, self._kernels(), strict=True):
            total = total + weight * kernel.evaluate(x, y)
        return total

    def bind(self, prior: Prior) -> "Sum":
        """Bind every term."""
        return Sum([kernel.bind(prior) for kernel in self._kernels()], self.weights)

    def adapt(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> "Sum":
        """Adapt every term."""
        return Sum([kernel.adapt(x, y) for kernel in self._kernels()], self.weights)

    def _kernels(self) -> list[Kernel]:
        return [kernel for kernel in self.kernels if isinstance(kernel, Kernel)]
