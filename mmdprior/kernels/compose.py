"""Kernels composed of other kernels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels.function import KernelLike, as_kernel
from mmdprior.kernels.kernel import Kernel
from mmdprior.priors import Prior
from mmdprior.priors.arguments import positive_numbers

__all__ = ["ProductKernel", "Sum"]


class _Composite(Kernel):
    """A kernel composed of several kernels, which are bound and adapted together."""

    def __init__(self, kernels: Sequence[KernelLike]) -> None:
        super().__init__()
        if not isinstance(kernels, Sequence) or not kernels:
            kind = "an empty list" if isinstance(kernels, Sequence) else type(kernels).__name__
            raise InputError(f"kernels: {kind} received; give a list of at least one kernel")
        self.kernels = nn.ModuleList(as_kernel(kernel, "kernels") for kernel in kernels)

    def _with_kernels(self, kernels: Sequence[KernelLike]) -> "_Composite":
        """Return the same composition of other kernels."""
        return type(self)(kernels)

    def bind(self, prior: Prior) -> "Kernel":
        """Return the composition of the kernels bound to the prior."""
        return self._with_kernels([kernel.bind(prior) for kernel in self.terms()])

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Return the composition of the adapted kernels; itself where none of them changes."""
        terms = self.terms()
        adapted = [kernel.adapt(x, y, generator) for kernel in terms]
        if all(new is old for new, old in zip(adapted, terms, strict=True)):
            return self
        return self._with_kernels(adapted)

    @property
    def adaptive(self) -> bool:
        """Whether any of the kernels is adaptive."""
        return any(kernel.adaptive for kernel in self.terms())

    def terms(self) -> list[Kernel]:
        """Return the kernels."""
        return [kernel for kernel in self.kernels if isinstance(kernel, Kernel)]


class Sum(_Composite):
    """Weighted sum of kernels, sum_i w_i k_i. Every term is averaged and logged separately.

    Args:
        kernels: at least one kernel.
        weights: positive numbers w_i, one per kernel; 1 by default.

    Raises:
        InputError: no kernels, or weights that are not one positive number per kernel.

    Example:
        The ANOVA kernel for pairs of dimensions with a joint kernel for everything else:

        >>> from mmdprior.kernels import ANOVA, RBF
        >>> from mmdprior.priors import Gaussian
        >>> kernel = Sum([ANOVA(), RBF()], weights=[1.0, 10.0]).bind(Gaussian(3))
        >>> kernel.part_names
        ('anova_0_order_1', 'anova_0_order_2', 'rbf_1')
    """

    def __init__(self, kernels: Sequence[KernelLike], weights: Sequence[float] | None = None) -> None:
        super().__init__(kernels)
        given = [1.0] * len(kernels) if weights is None else weights
        self.weights = positive_numbers("weights", given, len(kernels))

    @property
    def part_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the terms of all kernels: class, position in the sum, and name of the term."""
        return tuple(
            f"{type(kernel).__name__.lower()}_{i}{f'_{name}' if name else ''}"
            for i, kernel in enumerate(self.terms())
            for name in kernel.part_names
        )

    @property
    def part_weights(self) -> tuple[float, ...]:  # type: ignore[override]
        """Weights of the terms of all kernels."""
        return tuple(
            weight * part
            for weight, kernel in zip(self.weights, self.terms(), strict=True)
            for part in kernel.part_weights
        )

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute sum_i w_i k_i for every pair."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for weight, kernel in zip(self.weights, self.terms(), strict=True):
            total = total + weight * kernel.evaluate(x, y)
        return total

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Return the mean of every term over the pairs of rows of one sample."""
        return torch.cat([kernel.means_within(x, unbiased=unbiased) for kernel in self.terms()])

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Return the mean of every term over all pairs of a row of x and a row of y."""
        return torch.cat([kernel.means_across(x, y) for kernel in self.terms()])

    def extra_repr(self) -> str:
        """Show the weights and the terms."""
        shown = [
            f"{weight:g} {type(term).__name__}({term.extra_repr()})"
            for weight, term in zip(self.weights, self.terms(), strict=True)
        ]
        return " + ".join(shown)

    def _with_kernels(self, kernels: Sequence[KernelLike]) -> "Sum":
        return Sum(kernels, self.weights)


class ProductKernel(_Composite):
    """Product of kernels, prod_i k_i.

    Args:
        kernels: at least one kernel.

    Raises:
        InputError: no kernels.

    Example:
        >>> from mmdprior.kernels import IMQ, RBF
        >>> x, y = torch.zeros(1, 2), torch.ones(1, 2)  # r^2 = 2
        >>> ProductKernel([RBF(1.0), IMQ(2.0)])(x, y).round(decimals=4)  # exp(-1) * 2 / (2 + 2)
        tensor([[0.1839]])
    """

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute prod_i k_i for every pair."""
        total = torch.ones((), dtype=x.dtype, device=x.device)
        for kernel in self.terms():
            total = total * kernel.evaluate(x, y)
        return total
