"""Rows of inputs from arrays of any kind, read in blocks and checked, and the scale of their columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.precision import in_float64
from mmdprior.predictors.mixture import Mixture

__all__ = ["Rows", "Scaling"]

_ENTRIES = 1 << 24
"""Entries read at a time, to bound memory."""


class Rows:
    """Rows of p problems as tensors on a device, of which only those asked for are read.

    Args:
        x: (n, D) or (p, n, D) tensor, array, array on disk (`numpy.memmap`), data frame or nested list.
        device: device of the tensors; by default that of a tensor, and the CPU for others.

    Attributes:
        shape: p, n and D.
        single: whether x has no axis of problems.
        is_tensor: whether x is a tensor.
        device: device of the tensors.
        dtype: float32 for numbers of at most 32 floating bits, and float64 for others.

    Raises:
        InputError: x has another number of axes, no rows or no columns, or other entries than real numbers.

    Example:
        >>> import numpy as np
        >>> from mmdprior.predictors.rows import Rows
        >>> Rows(np.arange(6.0).reshape(3, 2))[1:]
        tensor([[[2., 3.],
                 [4., 5.]]], dtype=torch.float64)
    """

    def __init__(self, x: Any, device: torch.device | str | None = None) -> None:
        self.is_tensor = isinstance(x, Tensor)
        self._x = x if self.is_tensor else _array(x)
        if self._x.ndim not in (2, 3):
            raise InputError(
                f"x: {self._x.ndim}D array received; expected (rows, columns) or (problems, rows, columns). "
                "Reshape your data: x.reshape(-1, 1) for one column, x.reshape(1, -1) for one row"
            )
        self.single = self._x.ndim == 2
        shape = tuple(self._x.shape)
        self.shape: tuple[int, int, int] = (1, *shape) if self.single else shape
        if not self.shape[1] or not self.shape[0]:
            raise InputError(f"x: 0 sample(s) (shape={shape}) while a minimum of 1 is required; give rows")
        if not self.shape[2]:
            raise InputError(f"x: 0 feature(s) (shape={shape}) while a minimum of 1 is required.")
        self.device = torch.device(device or (x.device if self.is_tensor else "cpu"))
        name = str(self._x.dtype).removeprefix("torch.")
        is_short = name in ("float16", "bfloat16", "float32") or self.device.type == "mps"
        self.dtype = torch.float32 if is_short else torch.float64

    def __getitem__(self, rows: Any) -> Float[Tensor, "p b D"]:
        """Return the rows of a slice or an array of indices, in every problem."""
        part: Any = self._x[rows] if self.single else self._x[:, rows]
        if not self.is_tensor:
            part = torch.from_numpy(np.array(part, dtype=np.float64 if self.dtype is torch.float64 else None))
        part = part.detach().to(self.device, self.dtype)
        return part[None] if self.single else part

    def blocks(self) -> Iterator[slice]:
        """Yield slices of rows that together are all rows, of bounded size."""
        p, n, width = self.shape
        size = max(1, _ENTRIES // (p * width))
        yield from (slice(first, min(n, first + size)) for first in range(0, n, size))

    def check_finite(self) -> None:
        """Raise `InputError` for the first entry that is NaN or infinite."""
        for block in self.blocks():
            wrong = (~self[block].isfinite()).nonzero()
            if len(wrong):
                problem, row, column = wrong[0].tolist()
                place = f"row {block.start + row}, column {column}"
                place += "" if self.single else f" of problem {problem}"
                raise InputError(f"x: NaN or infinity received in {place}; give finite numbers")

    def moments(self) -> tuple[Float[Tensor, "p 1 D"], Float[Tensor, "p 1 D"]]:
        """Return the mean and the standard deviation of every column in float64, by two passes."""
        n = self.shape[1]
        sums = [in_float64(self[block]).sum(1, keepdim=True) for block in self.blocks()]
        mean = torch.stack(sums).sum(0) / n
        squares = [(in_float64(self[block]) - mean).square().sum(1, keepdim=True) for block in self.blocks()]
        return mean, (torch.stack(squares).sum(0) / n).sqrt()


def _array(x: Any) -> np.ndarray:
    """Return an array of real numbers; float16 becomes float32."""
    if hasattr(x, "toarray"):
        raise InputError("x: sparse matrix received; give x.toarray()")
    array = x if isinstance(x, np.ndarray) else np.asarray(x)
    if array.dtype.kind == "c":
        raise InputError("x: complex numbers received. Complex data not supported; give real numbers")
    if array.dtype.kind not in "fiub":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(f"x: entries of type {array.dtype} received; give real numbers") from None
    return array.astype(np.float32) if array.dtype == np.float16 else array


@dataclass(frozen=True)
class Scaling:
    """Affine maps of inputs and targets to the coordinates in which a mixture is fitted.

    Attributes:
        mean: (p, 1, D) number subtracted from every input.
        scale: (p, 1, D) number by which every input is divided.
        y_mean: (p,) number subtracted from the targets.
        y_scale: (p,) number by which the targets are divided.
        intercept: whether the inputs get a column of ones.
    """

    mean: Float[Tensor, "p 1 D"]
    scale: Float[Tensor, "p 1 D"]
    y_mean: Float[Tensor, "p"]
    y_scale: Float[Tensor, "p"]
    intercept: bool

    def inputs(self, x: Float[Tensor, "p n D"]) -> Float[Tensor, "p n E"]:
        """Return scaled inputs, with a column of ones if there is an intercept."""
        scaled = (x - self.mean.to(x)) / self.scale.to(x)
        return torch.cat([scaled, torch.ones_like(scaled[..., :1])], 2) if self.intercept else scaled

    def original(self, mixture: Mixture) -> Mixture:
        """Return a mixture of scaled inputs and targets as a mixture of the original ones."""
        if mixture.variance is None:
            return Mixture(self._of_original(mixture.gate), self._of_original(mixture.experts), None)
        size = self.y_scale.to(mixture.gate)[:, None, None]
        experts = self._of_original(mixture.experts) * size[..., None]
        if self.intercept:
            experts[..., -1] += self.y_mean.to(experts)[:, None, None]
        return Mixture(self._of_original(mixture.gate), experts, mixture.variance * size.square())

    def scaled(self, mixture: Mixture) -> Mixture:
        """Return a mixture of the original inputs and targets as a mixture of the scaled ones."""
        if mixture.variance is None:
            return Mixture(self._of_scaled(mixture.gate), self._of_scaled(mixture.experts), None)
        size = self.y_scale.to(mixture.gate)[:, None, None]
        experts = mixture.experts.clone()
        if self.intercept:
            experts[..., -1] -= self.y_mean.to(experts)[:, None, None]
        experts = self._of_scaled(experts) / size[..., None]
        return Mixture(self._of_scaled(mixture.gate), experts, mixture.variance / size.square())

    def _of_original(self, coefficients: Tensor) -> Tensor:
        """Return coefficients of scaled inputs as coefficients of the original ones."""
        mean, scale = (self._wide(part, coefficients) for part in (self.mean, self.scale))
        if not self.intercept:
            return coefficients / scale
        slopes = coefficients[..., :-1] / scale
        constant = coefficients[..., -1:] - (slopes * mean).sum(-1, keepdim=True)
        return torch.cat([slopes, constant], -1)

    def _of_scaled(self, coefficients: Tensor) -> Tensor:
        """Return coefficients of the original inputs as coefficients of the scaled ones."""
        mean, scale = (self._wide(part, coefficients) for part in (self.mean, self.scale))
        if not self.intercept:
            return coefficients * scale
        slopes = coefficients[..., :-1]
        constant = coefficients[..., -1:] + (slopes * mean).sum(-1, keepdim=True)
        return torch.cat([slopes * scale, constant], -1)

    def _wide(self, part: Tensor, coefficients: Tensor) -> Tensor:
        """Return (p, 1, D) numbers with as many axes as coefficients, (p, ..., D)."""
        shape = (len(part), *[1] * (coefficients.ndim - 2), part.shape[2])
        return part.to(coefficients).reshape(shape)
