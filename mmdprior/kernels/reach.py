"""Whether a kernel distinguishes codes by their distance from a prior, in the precision of the codes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import Sum
from mmdprior.kernels.distance import decay
from mmdprior.kernels.kernel import Kernel

__all__ = ["is_flat", "out_of_reach"]

_ROUNDING = 4
"""Rounding error of a kernel near its value at distance zero, in units in the last place."""


@torch.no_grad()
def out_of_reach(
    kernel: Kernel, codes: Float[Tensor, "n d"], draws: Float[Tensor, "m d"]
) -> Bool[Tensor, "n"]:
    """Return for each code whether the kernel between it and every prior draw is zero up to rounding.

    The cross term of an MMD then has no gradient in this code, so that the penalty cannot move it. Under
    ANOVA one such dimension is enough, because only the marginal of a dimension moves it. ANOVA by features
    is periodic: it moves such a code to a shifted copy of the prior, also as a term of a sum.

    Args:
        kernel: bound to the prior and adapted to the samples.
        codes: float32 or float64.
        draws: prior draws of the same dtype.

    Example:
        >>> from mmdprior.kernels import IMQ, RBF
        >>> codes, draws = torch.tensor([[0.0], [60.0]]), torch.tensor([[-1.0], [1.0]])
        >>> out_of_reach(RBF(1.0), codes, draws)
        tensor([False,  True])
        >>> out_of_reach(Sum([RBF(1.0), IMQ(1.0)]), codes, draws)
        tensor([False, False])
    """
    if isinstance(kernel, Sum):
        far = torch.stack([out_of_reach(term, codes, draws) for term in kernel.terms()])
        misled = [isinstance(term, ANOVA) and term.by_features for term in kernel.terms()]
        return far.all(0) | far[misled].any(0)
    smallest = torch.finfo(codes.dtype).eps
    if isinstance(kernel, ANOVA):
        return (_one_dimensional(kernel, codes, draws).amax(1) < smallest).any(1)
    return kernel(codes, draws).abs().amax(1) < smallest * kernel(codes, codes).diagonal()


@torch.no_grad()
def is_flat(kernel: Kernel, codes: Float[Tensor, "n d"], draws: Float[Tensor, "m d"]) -> Bool[Tensor, ""]:
    """Return whether the kernel between all codes and draws equals its value at distance zero up to rounding.

    The MMD is then rounding error. Arguments as for `out_of_reach`.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> codes, draws = torch.tensor([[0.0], [60.0]]), torch.tensor([[-1.0], [1.0]])
        >>> is_flat(RBF(1.0), codes, draws), is_flat(RBF(1e6), codes, draws)
        (tensor(False), tensor(True))
    """
    if isinstance(kernel, Sum):
        return torch.stack([is_flat(term, codes, draws) for term in kernel.terms()]).all()
    largest = _ROUNDING * torch.finfo(codes.dtype).eps
    differ = (codes[:, None] != draws).any()
    if isinstance(kernel, ANOVA):
        return differ & (1 - _one_dimensional(kernel, codes, draws) < largest).all()
    own = kernel(codes, codes).diagonal()[:, None]
    return differ & ((kernel(codes, draws) - own).abs() < largest * own).all()


def _one_dimensional(kernel: ANOVA, codes: Tensor, draws: Tensor) -> Float[Tensor, "n m d"]:
    """Return the RBF of every dimension that ANOVA is built from, before it is centred."""
    return decay((codes[:, None] - draws).square(), 0.5 / kernel.lengthscale**2)
