"""Mean embeddings of priors under RBFs of several length-scales at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.bandwidth import decay, squared_distance
from mmdprior.kernels.pairs import BLOCK, recomputed
from mmdprior.kernels.spectrum import Spectrum
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

__all__ = ["Scales", "scale_means"]

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
