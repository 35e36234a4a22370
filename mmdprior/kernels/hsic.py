"""dHSIC: the statistic of joint independence, for penalties and metrics."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["dhsic_statistic", "log_row_means"]

_BLOCK = 2**22


def log_row_means(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return log mean_b exp(-(z_a - z_b)^2) of every dimension."""
    blocks = z.split(max(1, _BLOCK // z.numel()))
    return torch.cat([(-(block[:, None] - z).square()).exp_().mean(1) for block in blocks]).log()


def dhsic_statistic(z: Float[Tensor, "n d"], logs: Float[Tensor, "n d"]) -> float:
    """Return the V-statistic of dHSIC (Pfister et al., 2018).

    Args:
        z: codes, scaled so that the kernel of every dimension is exp(-(z_a - z_b)^2).
        logs: what `log_row_means` returns for them.
    """
    squares = z.square().sum(1)
    exponent = (squares[:, None] + squares).addmm_(z, z.T, alpha=-2)
    joint = exponent.clamp_(min=0).neg_().exp_().mean()
    marginals = logs.exp().mean(0).log().sum().exp()
    return float(joint + marginals - 2 * logs.sum(1).exp().mean())
