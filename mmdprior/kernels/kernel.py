"""The contract of a kernel, and the precision in which kernels are evaluated."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmdprior.errors import InputError
from mmdprior.kernels.pairs import sum_across, sum_within
from mmdprior.precision import full_precision
from mmdprior.priors import Prior

__all__ = ["Kernel"]


class Kernel(nn.Module, ABC):
    """A positive definite function of pairs of codes.

    Calling a kernel gives the (n, m) matrix k(x_a, y_b), in float32 at least, whatever autocast or
    TF32 say; `means_within` and `means_across` average it without ever holding more than a block of
    it. Subclasses write `evaluate`. A kernel that depends on the prior (by a bandwidth, say) resolves
    that in `bind`; one that depends on the batch, or is drawn anew for it, in `adapt`.

    Attributes:
        part_names: the p terms of a kernel that is a sum, logged apart; one without a name by default.
        part_weights: their weights: k = sum_p w_p k_p.
    """

    part_names: tuple[str, ...] = ("",)
    part_weights: tuple[float, ...] = (1.0,)

    def forward(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate the kernel on every pair of rows.

        Raises:
            InputError: not two axes, or different widths.
        """
        x, y = _prepared(x, y)
        with full_precision(x.device.type):
            return self.evaluate(x, y)

    @abstractmethod
    def evaluate(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Evaluate on inputs of equal width and type; full precision is in force."""

    def parts(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p n m"]:
        """Evaluate every part; as `evaluate`. One part by default."""
        return self.evaluate(x, y)[None]

    def _parts(self, x: Tensor, y: Tensor) -> Tensor:
        with full_precision(x.device.type):
            return self.parts(x, y)

    def means_within(self, x: Float[Tensor, "n d"], *, unbiased: bool) -> Float[Tensor, "p"]:
        """Average every part over the pairs of one sample, without a row's pair with itself if unbiased.

        Raises:
            InputError: not two axes, or fewer than two rows for the unbiased average.
        """
        x, _ = _prepared(x, x)
        if unbiased and len(x) < 2:
            raise InputError(f"codes: {len(x)} rows received; an average over pairs needs 2")
        count = len(x) * (len(x) - 1) if unbiased else len(x) ** 2
        parameters = tuple(self.parameters())
        return sum_within(self._parts, x, diagonal=not unbiased, parameters=parameters) / count

    def means_across(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "p"]:
        """Average every part over all pairs of a row of x and a row of y."""
        x, y = _prepared(x, y)
        return sum_across(self._parts, x, y, tuple(self.parameters())) / (len(x) * len(y))

    def bind(self, prior: Prior) -> "Kernel":
        """Return the kernel to use against a prior; itself by default."""
        return self

    def adapt(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        generator: torch.Generator | None = None,
    ) -> "Kernel":
        """Return the kernel to use for one estimate on these two samples; itself by default.

        All three terms of an MMD must share one kernel, so whatever a batch or chance decides is
        decided here.
        """
        return self

    def rbf_mixture(self, dim: int) -> tuple[Tensor, Tensor] | None:
        """Write the kernel as sum_j w_j exp(-r^2 / (2 l_j^2)) in d dimensions, if it can be.

        Returns:
            Weights w (j,) and squared length-scales l^2 (j,) in float64: by these it has a closed mean
            embedding wherever the RBF has one. None by default.
        """
        return None

    @property
    def adaptive(self) -> bool:
        """Whether `adapt` changes the kernel, which then has no fixed mean embedding."""
        return False


def _prepared(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in one type of at least float32."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(
            f"codes: shapes {tuple(x.shape)} and {tuple(y.shape)} received; give (n, d) and (m, d)"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(dtype), y.to(dtype)
