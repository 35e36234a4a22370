"""Mean embeddings mu(x) = E k(x, y) and energies E k(y, y') of priors y ~ p, where they are known.

They take the prior's draws out of an MMD, and with them half of its bias and of its spread.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.bandwidth import decay, squared_distance
from mmdprior.kernels.compose import Sum
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.pairs import BLOCK, recomputed
from mmdprior.kernels.spectrum import Spectrum
from mmdprior.precision import full_precision
from mmdprior.priors import (
    FullGaussian,
    Gaussian,
    GaussianMixture,
    LowRankGaussian,
    Prior,
    Product,
    Samples,
    Uniform,
)
from mmdprior.seeding import stream

__all__ = ["Embedding", "Scales", "embedding", "null_variance", "scale_means"]

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
            weight, ratio = float(mixture[0]), float(mixture[1]) / float(variance[0])
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


_MOST_POINTS = 4096
_MOST_SCALES = 8
_MOST_FREQUENCIES = 512


@dataclass(frozen=True)
class Scales:
    """Embeddings under exp(-r^2 / (2 l_j^2)), j = 1..J.

    Attributes:
        mean: (n, d) codes -> (n, J).
        energies: (J,) float64 on the CPU.
    """

    mean: Callable[[Tensor], Tensor]
    energies: Float[Tensor, "J"]


def scale_means(prior: Prior, squared: Float[Tensor, "J"]) -> Scales | None:
    """Return the embeddings of a prior at squared length-scales, or None where they are unknown."""
    if isinstance(prior, Product):
        return _product(prior, squared)
    if isinstance(prior, Gaussian):
        return _gaussian(prior.mean, prior.scale.square(), None, squared)
    if isinstance(prior, (FullGaussian, LowRankGaussian)):
        moments = prior.moments()
        variances, axes = torch.linalg.eigh(moments.covariance.cpu().double())
        return _gaussian(moments.mean, variances.clamp(min=0), axes, squared)
    if isinstance(prior, GaussianMixture):
        return _mixture(*prior.components(), squared)
    if isinstance(prior, Samples) and len(prior.points) <= _MOST_POINTS:
        weights = torch.full((len(prior.points),), 1.0 / len(prior.points))
        return _mixture(weights, prior.points, torch.zeros(len(prior.points), 1), squared)
    if isinstance(prior, Uniform) and len(squared) <= _MOST_SCALES:
        return _box(prior.low, prior.high, squared)
    if prior.independent and len(squared) <= _MOST_SCALES:
        return _independent(prior, squared)
    return None


def _gaussian(mean: Tensor, variances: Tensor, axes: Tensor | None, squared: Tensor) -> Scales:
    """N(m, S), S = axes diag(variances) axes'."""
    mean, variances = mean.cpu().double(), variances.cpu().double()
    total = squared[:, None] + variances
    log_norm = -0.5 * torch.log1p(variances / squared[:, None]).sum(1)
    energies = torch.exp(-0.5 * torch.log1p(2 * variances / squared[:, None]).sum(1))

    def of(x: Tensor) -> Tensor:
        centred = x - mean.to(x)
        if axes is not None:
            centred = centred @ axes.to(x)
        return torch.exp(centred.square() @ (-0.5 / total).T.to(x) + log_norm.to(x))

    return Scales(of, energies)


def _mixture(weights: Tensor, means: Tensor, scales: Tensor, squared: Tensor) -> Scales:
    """Gaussian components with diagonal covariances; points where the scales are zero."""
    weights, means = weights.cpu().double(), means.cpu().double()
    dim = means.shape[1]
    variances = scales.cpu().double().square()
    if bool((variances == variances[:1, :1]).all()):
        return _isotropic(weights, means, variances[0, 0], squared)
    variances = variances.expand(len(means), dim)
    total = variances[:, None] + squared[:, None]  # (k, J, d)
    log_norm = -0.5 * torch.log1p(variances[:, None] / squared[:, None]).sum(2)
    precision = -0.5 / total

    def of(x: Tensor) -> Tensor:
        offsets = (x[:, None] - means.to(x)).square()
        log_terms = torch.einsum("nkd,kjd->nkj", offsets, precision.to(x)) + log_norm.to(x)
        return torch.einsum("nkj,k->nj", log_terms.exp(), weights.to(x))

    gaps = (means[:, None] - means).square()
    both = variances[:, None] + variances
    energies = [
        weights @ torch.exp(-0.5 * (gaps / (both + l2) + torch.log1p(both / l2)).sum(2)) @ weights
        for l2 in squared
    ]
    return Scales(of, torch.stack(energies))


def _isotropic(weights: Tensor, means: Tensor, variance: Tensor, squared: Tensor) -> Scales:
    """Components that share one variance s^2: everything depends on distances alone."""
    dim = means.shape[1]
    total, twice = squared + variance, squared + 2 * variance
    norm = (1 + variance / squared) ** (-dim / 2)
    energy_norm = (1 + 2 * variance / squared) ** (-dim / 2)

    def of(x: Tensor) -> Tensor:
        def block(rows: Tensor) -> Tensor:
            distances = squared_distance(rows, means.to(x))
            columns = [decay(distances, 0.5 / l2) @ weights.to(x) for l2 in total.tolist()]
            return torch.stack(columns, 1) * norm.to(x)

        return torch.cat([recomputed(block, rows) for rows in x.split(max(1, BLOCK // len(means)))])

    gaps = squared_distance(means, means)
    energies = [weights @ torch.exp(gaps * (-0.5 / l2)) @ weights for l2 in twice]
    return Scales(of, torch.stack(energies) * energy_norm)


def _box(low: Tensor, high: Tensor, squared: Tensor) -> Scales:
    """Uniform box: a difference of error functions a dimension."""
    low, high = low.cpu().double(), high.cpu().double()
    width = high - low
    length = squared.sqrt()[:, None]
    factor = length * math.sqrt(math.pi / 2) / width

    def of(x: Tensor) -> Tensor:
        columns = []
        for l1, front in zip(length[:, 0].tolist(), factor, strict=True):
            upper = torch.erf((high.to(x) - x) / (math.sqrt(2) * l1))
            lower = torch.erf((low.to(x) - x) / (math.sqrt(2) * l1))
            columns.append(((upper - lower) * front.to(x)).prod(1))
        return torch.stack(columns, 1)

    ratio = width / length
    energies = math.sqrt(2 * math.pi) / ratio * torch.erf(ratio / math.sqrt(2))
    energies = energies + 2 / ratio.square() * torch.expm1(-ratio.square() / 2)
    return Scales(of, energies.prod(1))


def _independent(prior: Prior, squared: Tensor) -> Scales | None:
    """Any independent prior, a dimension at a time, by its characteristic functions."""
    marginals = prior.marginals()
    lengths = squared.sqrt().tolist()
    if max(Spectrum.size(marginals, length) for length in lengths) > _MOST_FREQUENCIES:
        return None
    spectra = [Spectrum(marginals, length) for length in lengths]

    def of(x: Tensor) -> Tensor:
        size = max(1, BLOCK // (x.shape[1] * max(len(s.frequencies) for s in spectra)))
        columns = [
            torch.cat([recomputed(lambda rows, s=s: s.mean(rows).prod(1), rows) for rows in x.split(size)])
            for s in spectra
        ]
        return torch.stack(columns, 1)

    return Scales(of, torch.stack([spectrum.energies().prod() for spectrum in spectra]))


def _product(prior: Product, squared: Tensor) -> Scales | None:
    """Blocks: an RBF of the whole is the product of RBFs of the blocks."""
    found = [(dims, scale_means(block, squared)) for dims, block in prior.placed()]
    known: Sequence[tuple[list[int], Scales]] = [(dims, part) for dims, part in found if part is not None]
    if len(known) < len(found):
        return None

    def of(x: Tensor) -> Tensor:
        total = torch.ones(len(x), len(squared), dtype=x.dtype, device=x.device)
        for dims, part in known:
            total = total * part.mean(x[:, dims])
        return total

    return Scales(of, torch.stack([part.energies for _, part in known]).prod(0))
