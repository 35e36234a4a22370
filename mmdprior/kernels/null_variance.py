"""The variance of a kernel under the null hypothesis that the codes follow the prior."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.kernel import Kernel
from mmdprior.priors import Gaussian, Prior
from mmdprior.seeding import stream

__all__ = ["null_variance"]

_DRAWS = 1024


@torch.no_grad()
def null_variance(kernel: Kernel, prior: Prior) -> float:
    """Return zeta = E kt(y, y')^2 for independent prior draws y and y', kt the kernel centred by the prior.

    The variance of a U-statistic under the null follows from it: 2 zeta / (n(n-1)) for the estimate with a
    known prior, and 2 zeta (1/(n(n-1)) + 1/(m(m-1)) + 2/(nm)) for two samples.

    It has a closed form for ANOVA with the independent prior that it is bound to, and for one RBF with
    an isotropic Gaussian. Otherwise it is estimated once from 1,024 prior draws.

    Example:
        >>> from mmdprior.kernels import RBF
        >>> round(null_variance(RBF(1.0), Gaussian(1)), 4)
        0.0734
    """
    if isinstance(kernel, ANOVA) and kernel.centred_by(prior):
        return kernel.null_variance()
    mixture = kernel.rbf_mixture(prior.dim)
    if mixture is not None and len(mixture[0]) == 1 and isinstance(prior, Gaussian):
        variance = prior.scale.double().square()
        if bool((variance == variance[0]).all()):
            # Numbers rather than tensors: weights are on the CPU, the prior may be on a GPU.
            weight, ratio = float(mixture[0]), float(mixture[1]) / float(variance[0])
            return weight**2 * _rbf_null_variance(ratio, prior.dim)
    draws = prior.sample(_DRAWS, stream(0, "null", device=prior.device))
    others = prior.sample(_DRAWS, stream(0, "null", 1, prior.device))
    gram = kernel.adapt(draws, others, stream(0, "null", 2))(draws, draws).double()
    return _squared_distance_covariance(gram)


def _rbf_null_variance(l2: float, d: int) -> float:
    """Return zeta of exp(-r^2 / (2 l^2)) and N(0, I): E k^2 - 2 E mu^2 + c^2."""
    return (
        math.pow(1 + 4 / l2, -d / 2)  # E k^2: k^2 is the RBF of l^2 / 2
        - 2 * math.pow(1 + 1 / l2, -d) * math.pow(1 + 2 / (1 + l2), -d / 2)  # 2 E mu(y)^2
        + math.pow(1 + 2 / l2, -d)  # c^2
    )


def _squared_distance_covariance(gram: Float[Tensor, "n n"]) -> float:
    """Return the unbiased estimate of E kt^2 from the Gram matrix of n draws.

    Szekely & Rizzo, Annals of Statistics 42, 2014, eq. 3.1 (U-centring) and eq. 3.2 (inner product), with
    the kernel in place of the distance.
    """
    n = len(gram)
    gram = gram - torch.diag(gram.diagonal())
    rows = gram.sum(1) / (n - 2)
    centred = gram - rows[:, None] - rows + gram.sum() / ((n - 1) * (n - 2))
    total = centred.square().sum() - centred.diagonal().square().sum()
    return max(float(total) / (n * (n - 3)), torch.finfo(torch.float64).tiny)
