"""Plain functions as kernels."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.kernels.kernel import Kernel

__all__ = ["FunctionKernel", "KernelLike", "as_kernel"]

KernelLike = Kernel | Callable[[Tensor, Tensor], Tensor]
"""A kernel, or a function of two sets of codes."""


class FunctionKernel(Kernel):
    """A kernel that is a function of two sets of codes.

    Args:
        function: (n, d) and (m, d) codes to the (n, m) matrix of kernel values; differentiable.
        arguments: further arguments of the function.

    Example:
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> def cauchy(x, y):
        ...     return 1 / (1 + torch.cdist(x, y).square())
        >>> penalty = MMD(Gaussian(3), cauchy)
        >>> penalty(torch.zeros(64, 3)) > penalty(torch.randn(64, 3))
        tensor(True)
    """

    def __init__(self, function: Callable[..., Tensor], **arguments: Any) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments

    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Call the function, and check the shape of what it returns.

        Raises:
            InputError: anything but an (n, m) tensor was returned.
        """
        values: object = self.function(x, y, **self.arguments)
        if not isinstance(values, Tensor) or values.shape != (len(x), len(y)):
            shape = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"kernel: {self.extra_repr()} returned {shape} for {len(x)} and {len(y)} codes; return "
                f"({len(x)}, {len(y)})"
            )
        return torch.as_tensor(values)

    def extra_repr(self) -> str:
        """Return the name of the function, and its arguments."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return ", ".join([name, *(f"{key}={value!r}" for key, value in self.arguments.items())])


def as_kernel(kernel: object, argument: str = "kernel") -> Kernel:
    """Return a kernel as it is, and a function as a `FunctionKernel`.

    Args:
        kernel: a kernel, or a function of (n, d) and (m, d) codes.
        argument: name of the argument, for errors.

    Raises:
        InputError: neither of them, such as the class of a kernel.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> type(as_kernel(RBF())).__name__, type(as_kernel(torch.cdist)).__name__
        ('RBF', 'FunctionKernel')
    """
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, type) or not callable(kernel):
        name = kernel.__name__ if isinstance(kernel, type) else repr(kernel)
        raise InputError(
            f"{argument}: {name} received; give a kernel of mmdprior.kernels, such as RBF(), or a function"
        )
    return FunctionKernel(kernel)
