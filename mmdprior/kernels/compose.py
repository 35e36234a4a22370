"""Kernels made from kernels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels.kernel import Kernel
from mmdprior.priors import Prior

__all__ = ["ProductKernel", "Sum"]


class _Composite(Kernel):
    """A kernel of several kernels, bound and adapted together."""

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        super().__init__()
        if not kernels:
            raise InputError("kernels: an empty list received; give at least one kernel")
        self.kernels = nn.ModuleList(kernels)

    def _of(self, kernels: Sequence[Kernel]) -> "_Composite":
        """Return the same composition of other kernels."""
        return type(self)(kernels)

    def bind(self, prior: Prior) -> "Kernel":
        """Bind every kernel."""
        return self._of([kernel.bind(prior) for kernel in self.terms()])

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Adapt every kernel."""
        if not self.adaptive:
            return self
        return self._of([kernel.adapt(x, y, generator) for kernel in self.terms()])

    @property
    def adaptive(self) -> bool:
        """Whether any of the kernels is."""
        return any(kernel.adaptive for kernel in self.terms())

    def terms(self) -> list[Kernel]:
        """Return the kernels."""
        return [kernel for kernel in self.kernels if isinstance(kernel, Kernel)]


class Sum(_Composite):
    """Weighted sum of kernels, sum_i w_i k_i; its terms are averaged and logged apart.

    Args:
        kernels: at least one.
        weights: positive numbers, one a kernel; ones by default.

    Raises:
        InputError: no kernels, or weights that are not one positive number a kernel.
    """

    def __init__(self, kernels: Sequence[Kernel], weights: Sequence[float] | None = None) -> None:
        super().__init__(kernels)
        self.weights = [1.0] * len(kernels) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(kernels) or not all(0 < w < math.inf for w in self.weights):
            raise InputError(f"weights: {weights} received; give {len(kernels)} positive numbers")
        self.part_names = tuple(
            f"{type(kernel).__name__.lower()}_{i}{f'_{name}' if name else ''}"
            for i, kernel in enumerate(kernels)
            for name in kernel.part_names
        )
        self.part_weights = tuple(
            weight * part
            for weight, kernel in zip(self.weights, kernels, strict=True)
            for part in kernel.part_weights
        )

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate every term and add."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for weight, kernel in zip(self.weights, self.terms(), strict=True):
            total = total + weight * kernel.evaluate(x, y)
        return total

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Average every term over the pairs of one sample."""
        return torch.cat([kernel.means_within(x, unbiased=unbiased) for kernel in self.terms()])

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Average every term over all pairs of a row of x and a row of y."""
        return torch.cat([kernel.means_across(x, y) for kernel in self.terms()])

    def extra_repr(self) -> str:
        """Show the weights and the terms."""
        shown = [
            f"{weight:g} {type(term).__name__}({term.extra_repr()})"
            for weight, term in zip(self.weights, self.terms(), strict=True)
        ]
        return " + ".join(shown)

    def _of(self, kernels: Sequence[Kernel]) -> "Sum":
        return Sum(kernels, self.weights)


class ProductKernel(_Composite):
    """Product of kernels, prod_i k_i.

    Args:
        kernels: at least one.

    Raises:
        InputError: no kernels.
    """

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate every factor and multiply."""
        total = torch.ones((), dtype=x.dtype, device=x.device)
        for kernel in self.terms():
            total = total * kernel.evaluate(x, y)
        return total
