"""dHSIC: a statistic of joint independence, used by penalties and by metrics."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["dhsic_statistic", "dhsic_value", "log_row_means"]

_BLOCK = 2**22
"""Most entries of an intermediate array of `log_row_means`."""


def log_row_means(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return log mean_b exp(-(z_ai - z_bi)^2) for every row a and dimension i."""
    blocks = z.split(max(1, _BLOCK // z.numel()))
    return torch.cat([(-(block[:, None] - z).square()).exp_().mean(1) for block in blocks]).log()


def dhsic_statistic(z: Float[Tensor, "n d"], logs: Float[Tensor, "n d"]) -> float:
    """Return the V-statistic of dHSIC, the squared MMD between the joint and the product of the marginals.

    Pfister et al., Journal of the Royal Statistical Society B 80, 2018, definition 2.6, with the kernel
    k(z_ai, z_bi) = exp(-(z_ai - z_bi)^2) in every dimension:

        mean_ab prod_i k(z_ai, z_bi) + prod_i mean_ab k(z_ai, z_bi) - 2 mean_a prod_i mean_b k(z_ai, z_bi)

    Args:
        z: codes, scaled to the length-scale of that kernel, l^2 = 1/2.
        logs: `log_row_means(z)`. Permuting rows within a dimension permutes it likewise, so a permutation
            test computes it once.

    Example:
        >>> z = torch.randn(500, 1)
        >>> dependent, independent = torch.cat([z, z], 1), torch.randn(500, 2)
        >>> dhsic_statistic(dependent, log_row_means(dependent)) > 0.05
        True
        >>> dhsic_statistic(independent, log_row_means(independent)) < 0.01
        True
    """
    # The product of d kernels is one RBF of the joint distance.
    squares = z.square().sum(1)
    exponent = (squares[:, None] + squares).addmm_(z, z.T, alpha=-2)
    joint = exponent.clamp_(min=0).neg_().exp_().mean()
    # Products over dimensions as sums of logarithms, which do not underflow.
    marginals = logs.exp().mean(0).log().sum().exp()
    return float(joint + marginals - 2 * logs.sum(1).exp().mean())


def dhsic_value(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Return `dhsic_statistic` with a gradient; it holds (n, n, d) numbers for the backward pass.

    Args:
        z: codes, scaled to the length-scale l^2 = 1/2.

    Example:
        >>> import torch
        >>> z = torch.randn(50, 3, requires_grad=True)
        >>> dhsic_value(z).backward()
        >>> z.grad.shape
        torch.Size([50, 3])
    """
    log_kernels = -(z[:, None] - z).square()
    row_means = log_kernels.exp().mean(1)
    joint = log_kernels.sum(2).exp().mean()
    marginals = row_means.mean(0).log().sum().exp()
    return joint + marginals - 2 * row_means.log().sum(1).exp().mean()
