"""Mean embeddings mu(x) = E k(x, y) and energies E k(y, y') of priors y ~ p, where they are known.

They take the prior's draws out of an MMD, and with them half of its bias and of its spread.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import Sum
from mmdprior.kernels.kernel import Kernel, full_precision
from mmdprior.kernels.scales import scale_means
from mmdprior.priors import Gaussian, Prior
from mmdprior.seeding import stream

__all__ = ["Embedding", "embedding", "null_variance"]

_NULL_DRAWS = 1024


@dataclass(frozen=True)
class Embedding:
    """A prior as a kernel sees it.

    Attributes:
        mean: (n, d) codes -> (p, n) mu of every part of the kernel.
        energies: (p,) E k(y, y') of every part, float64 on the CPU.
    """

    mean: Callable[[Tensor], Tensor]
    energies: Float[Tensor, "p"]


def embedding(kernel: Kernel, prior: Prior) -> Embedding | None:
    """Return the mean embedding of a prior under a kernel that is bound to it, or None where it is unknown.

    Known for every sum of RBFs (RBF, IMQ and its WAE set, rational quadratic, sliced over the whole sphere)
    with a Gaussian, a Gaussian mixture, stored samples, or a product of such blocks; for RBFs with any
    independent prior whose marginals have a characteristic function; and for ANOVA with the independent
    prior that it is bound to, where all vanish.
    """
    if kernel.adaptive:
        return None
    if isinstance(kernel, Sum):
        return _of_sum(kernel, prior)
    if isinstance(kernel, ANOVA):
        return _vanishing(len(kernel.part_names)) if kernel.centred_by(prior) else None
    mixture = kernel.rbf_mixture(prior.dim)
    if mixture is None:
        return None
    weights, squared = mixture
    scales = scale_means(prior, squared)
    if scales is None:
        return None

    def mean(x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        with full_precision(x.device.type):
            return (scales.mean(x) @ weights.to(x))[None]

    return Embedding(mean, (weights @ scales.energies)[None])


def _of_sum(kernel: Sum, prior: Prior) -> Embedding | None:
    terms = [embedding(term, prior) for term in kernel.terms()]
    known = [term for term in terms if term is not None]
    if len(known) < len(terms):
        return None
    return Embedding(
        lambda x: torch.cat([term.mean(x) for term in known]), torch.cat([term.energies for term in known])
    )


def _vanishing(parts: int) -> Embedding:
    return Embedding(
        lambda x: x.new_zeros(parts, len(x), dtype=torch.promote_types(x.dtype, torch.float32)),
        torch.zeros(parts, dtype=torch.float64),
    )


@torch.no_grad()
def null_variance(kernel: Kernel, prior: Prior) -> float:
    """Return zeta = E kt(y, y')^2 of the kernel centred by the prior, y and y' independent draws.

    With it the variance of the U-statistic under the null is 2 zeta / (n(n-1)) for the known prior, and
    that of the two-sample one 2 zeta (1/(n(n-1)) + 1/(m(m-1)) + 2/(nm)). Closed for ANOVA with its own
    prior and for the RBF with an isotropic Gaussian; else from 1,024 prior draws, once, by the unbiased
    estimate of the distance covariance (Szekely & Rizzo, Annals of Statistics 42, 2014, eq. 3.2).
    """
    if isinstance(kernel, ANOVA) and kernel.centred_by(prior):
        return kernel.null_variance()
    mixture = kernel.rbf_mixture(prior.dim)
    if mixture is not None and len(mixture[0]) == 1 and isinstance(prior, Gaussian):
        variance = prior.scale.double().square()
        if bool((variance == variance[0]).all()):
            weight, ratio = float(mixture[0]), float(mixture[1] / variance[0])
            return weight**2 * _rbf_variance(ratio, prior.dim)
    draws = prior.sample(_NULL_DRAWS, stream(0, "null", device=prior.device))
    other = prior.sample(_NULL_DRAWS, stream(0, "null", 1, prior.device))
    gram = kernel.adapt(draws, other, stream(0, "null", 2))(draws, draws).double()
    return _centred_square(gram)


def _rbf_variance(l2: float, d: int) -> float:
    """Return zeta for exp(-r^2 / (2 l^2)) and N(0, I)."""
    return (
        math.pow(1 + 4 / l2, -d / 2)
        - 2 * math.pow(1 + 1 / l2, -d) * math.pow(1 + 2 / (1 + l2), -d / 2)
        + math.pow(1 + 2 / l2, -d)
    )


def _centred_square(gram: Float[Tensor, "n n"]) -> float:
    """Return the unbiased estimate of E kt^2 from a Gram matrix of n draws."""
    n = len(gram)
    gram = gram - torch.diag(gram.diagonal())
    rows = gram.sum(1) / (n - 2)
    centred = gram - rows[:, None] - rows + gram.sum() / ((n - 1) * (n - 2))
    total = centred.square().sum() - centred.diagonal().square().sum()
    return max(float(total) / (n * (n - 3)), torch.finfo(torch.float64).tiny)
