"""The contract of a kernel."""

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels.pairs import sum_across, sum_within
from mmdprior.precision import full_precision, full_precision_dtype
from mmdprior.priors import Prior

__all__ = ["Kernel"]

_K = TypeVar("_K", bound="Kernel")


class Kernel(nn.Module, ABC):
    """A positive semi-definite function of pairs of codes.

    ``kernel(x, y)`` returns the (n, m) matrix k(x_a, y_b) in float32 or float64, in full precision
    even under autocast or TF32. `means_within` and `means_across` average the matrix block by block, so that
    memory does not grow with n^2.

    A subclass writes one method, `evaluate`. A kernel that depends on the prior, for instance by its
    bandwidth, returns the kernel for that prior from `bind`. A kernel that depends on the batch, or is
    drawn at random for every estimate, returns the kernel for that estimate from `adapt`.

    Attributes:
        part_names: names under which the p terms of a kernel that is a sum are logged; by default one
            term without a name.
        part_weights: weights w_p of these terms, k = sum_p w_p k_p.
        positive_definite: whether every Gram matrix is positive semi-definite, which an MMD needs;
            `mmdprior.testing.check_kernel` verifies it where True.

    Example:
        A kernel of the sum of absolute differences, used in an MMD:

        >>> class Manhattan(Kernel):
        ...     def __init__(self, lengthscale: float = 1.0):
        ...         super().__init__()
        ...         self.lengthscale = lengthscale
        ...
        ...     def evaluate(self, x, y):
        ...         return torch.exp(-torch.cdist(x, y, p=1.0) / self.lengthscale)
        >>> from mmdprior import MMD
        >>> from mmdprior.priors import Gaussian
        >>> penalty = MMD(Gaussian(3), Manhattan(2.0))
        >>> penalty(torch.zeros(64, 3)) > penalty(torch.randn(64, 3))
        tensor(True)

        The same kernel with a length-scale that follows the prior:

        >>> class ScaledManhattan(Manhattan):
        ...     def bind(self, prior):
        ...         return Manhattan(float(prior.moments().covariance.diagonal().sqrt().sum()))
        >>> ScaledManhattan().bind(Gaussian(3, scale=2.0)).lengthscale
        6.0
    """

    part_names: tuple[str, ...] = ("",)
    part_weights: tuple[float, ...] = (1.0,)
    positive_definite: bool = True

    def forward(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Return the kernel of every pair of a row of x and a row of y.

        Raises:
            InputError: an input has not two axes, or the widths differ.
        """
        x, y = _promote(x, y)
        with full_precision(x.device.type):
            return self.evaluate(x, y)

    @abstractmethod
    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Compute the kernel of every pair; called with equal widths and dtypes, in full precision."""

    def parts(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p n m"]:
        """Compute every term of the kernel, unweighted; called like `evaluate`. One term by default."""
        return self.evaluate(x, y)[None]

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Return the mean of every term over the pairs of rows of one sample.

        Args:
            x: the sample.
            unbiased: whether to exclude the pairs of a row with itself.

        Raises:
            InputError: the input has not two axes, or fewer than two rows if unbiased.
        """
        x, _ = _promote(x, x)
        n = x.shape[0]  # not len(x), which torch.export takes for a constant
        if unbiased and n < 2:
            raise InputError(f"codes: {n} rows received; a mean over pairs needs at least 2")
        count = n * (n - 1) if unbiased else n**2
        parameters = tuple(self.parameters())
        return sum_within(self._full_precision_parts, x, diagonal=not unbiased, parameters=parameters) / count

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Return the mean of every term over all pairs of a row of x and a row of y."""
        x, y = _promote(x, y)
        parameters = tuple(self.parameters())
        return sum_across(self._full_precision_parts, x, y, parameters) / (x.shape[0] * y.shape[0])

    def bind(self, prior: Prior) -> "Kernel":
        """Return the kernel to use against a prior; the kernel itself by default.

        What the result takes from the prior is that of the time of this call. `MMD` binds its kernel again
        when prior or kernel have changed. A copy should therefore share the parameters and buffers of the
        kernel, so that loading them or training them changes both.
        """
        return self

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Return the kernel to use for one estimate on these two samples; the kernel itself by default.

        All three terms of an MMD must use the same kernel, so everything that depends on the batch or on
        random numbers is fixed here.

        Args:
            x: one sample.
            y: the other sample.
            generator: source of random numbers; torch's global generator by default.
        """
        return self

    @property
    def adaptive(self) -> bool:
        """Whether `adapt` changes the kernel, which then has no fixed mean embedding."""
        return False

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Return the kernel in d dimensions as a sum of RBFs, sum_j w_j exp(-r^2 / (2 l_j^2)).

        A kernel in this form has a closed mean embedding wherever the RBF has one.

        Returns:
            Weights w (j,) and squared length-scales l^2 (j,) in float64; None, the default, for a kernel
            that is not such a sum.
        """
        return None

    def _full_precision_parts(self, x: Tensor, y: Tensor) -> Tensor:
        with full_precision(x.device.type):
            return self.parts(x, y)

    def _shallow_copy(self: _K) -> _K:
        """Return a copy whose attributes and submodules can be replaced without changing this kernel."""
        other = type(self).__new__(type(self))  # copy.copy cannot be compiled
        other.__dict__.update(self.__dict__)
        for name in ("_parameters", "_buffers", "_modules"):
            other.__dict__[name] = other.__dict__[name].copy()
        return other


def _promote(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both samples in their common dtype, at least float32."""
    for sample in (x, y):
        if not isinstance(sample, Tensor):
            raise InputError(f"codes: {type(sample).__name__} received; give torch tensors")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(
            f"codes: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give (n, d) and (m, d)"
        )
    dtype = full_precision_dtype(x, y)
    return x.to(dtype), y.to(dtype)
