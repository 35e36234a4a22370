"""Closed mean embeddings mu(x) = E k(x, y) and energies c = E k(y, y') of priors y, y' ~ p.

With them an MMD needs no prior draws, which halves its standard deviation. `embedding` returns them for a
kernel and a prior. The closed forms are those of the RBF with each prior (`scale_embedding`). Other
kernels are sums of RBFs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mmdprior.kernels.anova import ANOVA
from mmdprior.kernels.compose import Sum
from mmdprior.kernels.constants import Constant
from mmdprior.kernels.distance import decay, squared_distance
from mmdprior.kernels.kernel import Kernel
from mmdprior.kernels.pairs import MAX_ENTRIES, checkpointed
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
from mmdprior.tracing import is_traced

__all__ = ["Embedding", "ScaleEmbedding", "embedding", "scale_embedding"]

_MAX_POINTS = 4096
"""Most stored samples whose mean embedding is evaluated; more of them are drawn from instead."""
_MAX_SCALES = 8
"""Most scales of an independent prior that is not Gaussian, whose cost grows with scales times d. The
sums of RBFs that represent an IMQ have tens of scales."""
_TRACED_ROWS = 1024
"""Codes for which a traced graph chooses how it evaluates a mixture."""
_MAX_FREQUENCIES = 512
"""Most frequencies per dimension of an independent prior; beyond it draws are cheaper."""


@dataclass(frozen=True)
class Embedding:
    """Mean embedding of a prior under a kernel of p terms.

    Attributes:
        mean: function from (n, d) codes to (p, n) values mu_p(x) of every term.
        energies: (p,) E k_p(y, y') of every term, in float64 on the CPU.
    """

    mean: Callable[[Tensor], Tensor]
    energies: Float[Tensor, "p"]

    def energies_like(self, x: Tensor) -> Float[Tensor, "p"]:
        """Return the energies with the device and dtype of x."""
        constant: Constant = self._constant  # type: ignore[attr-defined]
        return constant.like(x)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_constant", Constant(self.energies))


def embedding(kernel: Kernel, prior: Prior) -> Embedding | None:
    """Return the mean embedding of a prior under a kernel that is bound to it, or None if it is not known.

    It is known for

    - sums of RBFs (RBF, IMQ, WAE_IMQ, RationalQuadratic, Sliced over the whole sphere) with a Gaussian, a
      Gaussian mixture, stored samples, or a product of such blocks;
    - RBF with any independent prior whose marginals have a characteristic function;
    - ANOVA with the independent prior that it is bound to, where it is zero.

    Example:
        >>> from mmdprior.kernels import RBF, Laplacian
        >>> known = embedding(RBF(2**0.5), Gaussian(4))
        >>> known.energies  # (1 + 2 / l^2)^(-d/2)
        tensor([0.2500], dtype=torch.float64)
        >>> known.mean(torch.zeros(3, 4)).shape
        torch.Size([1, 3])
        >>> embedding(Laplacian(), Gaussian(4)) is None
        True
    """
    if kernel.adaptive:
        return None
    if isinstance(kernel, Sum):
        terms = [embedding(term, prior) for term in kernel.terms()]
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return None
        means = partial(_concatenated, functions=[term.mean for term in known])
        return Embedding(means, torch.cat([term.energies for term in known]))
    if isinstance(kernel, ANOVA):
        if not kernel.centred_by(prior):
            return None
        parts = len(kernel.part_names)
        return Embedding(partial(_zeros, parts=parts), torch.zeros(parts, dtype=torch.float64))
    mixture = kernel.rbf_mixture(prior.dim)
    if mixture is None:
        return None
    weights, squared = mixture
    scales = scale_embedding(prior, squared)
    if scales is None:
        return None
    mean = partial(_weighted_scales, scales=scales, weights=Constant(weights))
    return Embedding(mean, (weights @ scales.energies)[None])


def _concatenated(x: Tensor, functions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    return torch.cat([function(x) for function in functions])


def _zeros(x: Tensor, parts: int) -> Tensor:
    return x.new_zeros(parts, x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))


def _weighted_scales(x: Tensor, scales: "ScaleEmbedding", weights: Constant) -> Tensor:
    """Return mu(x) = sum_j w_j mu_j(x) as the only term."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    with full_precision(x.device.type):
        return (scales.mean(x) @ weights.like(x))[None]


class ScaleEmbedding(ABC):
    """Mean embeddings of a prior under the RBFs exp(-r^2 / (2 l_j^2)), j = 1, ..., J.

    Attributes:
        energies: (J,) c_j = E exp(-|y - y'|^2 / (2 l_j^2)), in float64 on the CPU.
    """

    energies: Float[Tensor, "J"]

    @abstractmethod
    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        """Return mu_j(x) = E exp(-|x - y|^2 / (2 l_j^2)); called in full precision."""


def scale_embedding(prior: Prior, squared: Float[Tensor, "J"]) -> ScaleEmbedding | None:
    """Return the embeddings of a prior at squared length-scales l_j^2, or None where they are not known."""
    if isinstance(prior, Product):
        return _product(prior, squared)
    if isinstance(prior, Gaussian):
        return _GaussianScales(prior.mean, prior.scale.square(), None, squared)
    if isinstance(prior, (FullGaussian, LowRankGaussian)):
        moments = prior.moments()
        variances, axes = torch.linalg.eigh(moments.covariance.cpu().double())
        return _GaussianScales(moments.mean, variances.clamp(min=0), axes, squared)
    if isinstance(prior, GaussianMixture):
        return _mixture(*prior.components(), squared)
    if isinstance(prior, Samples) and len(prior.points) <= _MAX_POINTS:
        weights = torch.full((len(prior.points),), 1.0 / len(prior.points))
        return _mixture(weights, prior.points, torch.zeros(len(prior.points), 1), squared)
    if isinstance(prior, Uniform) and len(squared) <= _MAX_SCALES:
        return _BoxScales(prior.low, prior.high, squared)
    if prior.independent and len(squared) <= _MAX_SCALES:
        return _independent(prior, squared)
    return None


class _GaussianScales(ScaleEmbedding):
    """N(m, S), with S = A diag(v) A'.

    mu_j(x) = |I + S / l_j^2|^(-1/2) exp(-(x - m)' (S + l_j^2 I)^-1 (x - m) / 2)
    c_j = |I + 2 S / l_j^2|^(-1/2)

    Args:
        mean: (d,) m.
        variances: (d,) eigenvalues v of S.
        axes: (d, d) eigenvectors A of S, one per column; None for the identity.
        squared: (J,) l_j^2.
    """

    def __init__(self, mean: Tensor, variances: Tensor, axes: Tensor | None, squared: Tensor) -> None:
        mean, variances = mean.cpu().double(), variances.cpu().double()
        total = squared[:, None] + variances  # (J, d), eigenvalues of S + l_j^2 I
        log_norm = -0.5 * torch.log1p(variances / squared[:, None]).sum(1)  # log |I + S / l_j^2|^(-1/2)
        self.energies = torch.exp(-0.5 * torch.log1p(2 * variances / squared[:, None]).sum(1))
        self._mean, self._axes = Constant(mean), None if axes is None else Constant(axes)
        self._half_precision = Constant((-0.5 / total).T)
        self._log_norm = Constant(log_norm)

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        centred = x - self._mean.like(x)
        if self._axes is not None:
            centred = centred @ self._axes.like(x)
        return torch.exp(centred.square() @ self._half_precision.like(x) + self._log_norm.like(x))


def _mixture(weights: Tensor, means: Tensor, scales: Tensor, squared: Tensor) -> ScaleEmbedding:
    """Return the embeddings of Gaussian components with diagonal covariances; points where scales are zero.

    Args:
        weights: (k,) weights w_a.
        means: (k, d) means m_a.
        scales: (k, d) or (k, 1) standard deviations.
        squared: (J,) l_j^2.
    """
    weights, means = weights.cpu().double(), means.cpu().double()
    variances = scales.cpu().double().square()
    if bool((variances == variances[:1, :1]).all()):
        return _IsotropicMixtureScales(weights, means, variances[0, 0], squared)
    return _DiagonalMixtureScales(weights, means, variances.expand(len(means), means.shape[1]), squared)


class _DiagonalMixtureScales(ScaleEmbedding):
    """sum_a w_a N(m_a, S_a), every S_a diagonal.

    mu_j(x) = sum_a w_a |I + S_a / l_j^2|^(-1/2) exp(-(x - m_a)' (S_a + l_j^2 I)^-1 (x - m_a) / 2)
    c_j = sum_ab w_a w_b |I + (S_a + S_b) / l_j^2|^(-1/2)
          exp(-(m_a - m_b)' (S_a + S_b + l_j^2 I)^-1 (m_a - m_b) / 2)
    """

    def __init__(self, weights: Tensor, means: Tensor, variances: Tensor, squared: Tensor) -> None:
        total = variances[:, None] + squared[:, None]  # (k, J, d), entries of S_a + l_j^2 I
        self._weights, self._means = Constant(weights), Constant(means)
        self._log_norm = Constant(-0.5 * torch.log1p(variances[:, None] / squared[:, None]).sum(2))
        self._half_precision = Constant(-0.5 / total)
        gaps = (means[:, None] - means).square()  # (k, k, d)
        sums = variances[:, None] + variances  # (k, k, d), entries of S_a + S_b
        energies = [
            weights @ torch.exp(-0.5 * (gaps / (sums + l2) + torch.log1p(sums / l2)).sum(2)) @ weights
            for l2 in squared
        ]
        self.energies = torch.stack(energies)

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        offsets = (x[:, None] - self._means.like(x)).square()
        exponents = torch.einsum("nkd,kjd->nkj", offsets, self._half_precision.like(x))
        log_terms = exponents + self._log_norm.like(x)
        return torch.einsum("nkj,k->nj", log_terms.exp(), self._weights.like(x))


class _IsotropicMixtureScales(ScaleEmbedding):
    """sum_a w_a N(m_a, s^2 I), or points where s = 0: everything depends on distances to the means.

    mu_j(x) = (1 + s^2 / l_j^2)^(-d/2) sum_a w_a exp(-|x - m_a|^2 / (2 (l_j^2 + s^2)))
    c_j = (1 + 2 s^2 / l_j^2)^(-d/2) sum_ab w_a w_b exp(-|m_a - m_b|^2 / (2 (l_j^2 + 2 s^2)))
    """

    def __init__(self, weights: Tensor, means: Tensor, variance: Tensor, squared: Tensor) -> None:
        dim = means.shape[1]
        self._weights, self._means = Constant(weights), Constant(means)
        rates = 0.5 / (squared + variance)
        self._rates, self._rate_column = rates.tolist(), Constant(rates[:, None])
        self._norm = Constant((1 + variance / squared) ** (-dim / 2))
        gaps = squared_distance(means, means)
        energies = [weights @ torch.exp(gaps * (-0.5 / l2)) @ weights for l2 in squared + 2 * variance]
        self.energies = torch.stack(energies) * (1 + 2 * variance / squared) ** (-dim / 2)

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        components = len(self._means.value)
        rows = _TRACED_ROWS if is_traced() else len(x)  # a traced graph serves batches of any size
        if rows * components * len(self._rates) <= MAX_ENTRIES:
            return self._at_once(x)
        # Stored samples may be many: rows in blocks, which the backward pass evaluates a second time.
        size = max(1, MAX_ENTRIES // components)
        return torch.cat([checkpointed(self._scale_by_scale, rows) for rows in x.split(size)])

    def _at_once(self, x: Tensor) -> Tensor:
        distances = squared_distance(x, self._means.like(x))
        terms = torch.exp(-self._rate_column.like(x) * distances[:, None])  # (n, J, k)
        return (terms @ self._weights.like(x)) * self._norm.like(x)

    def _scale_by_scale(self, x: Tensor) -> Tensor:
        distances, weights = squared_distance(x, self._means.like(x)), self._weights.like(x)
        columns = [decay(distances, rate) @ weights for rate in self._rates]
        return torch.stack(columns, 1) * self._norm.like(x)


class _BoxScales(ScaleEmbedding):
    """Uniform on the box [a, b], L = b - a; every factor is of one dimension.

    mu_j(x) = prod_i l_j sqrt(pi/2) / L_i (erf((b_i - x_i) / (sqrt(2) l_j))
              - erf((a_i - x_i) / (sqrt(2) l_j)))
    c_j = prod_i sqrt(2 pi) / t erf(t / sqrt(2)) - 2 / t^2 (1 - exp(-t^2 / 2)),  t = L_i / l_j
    """

    def __init__(self, low: Tensor, high: Tensor, squared: Tensor) -> None:
        low, high = low.cpu().double(), high.cpu().double()
        width = high - low
        length = squared.sqrt()[:, None]
        self._low, self._high = Constant(low), Constant(high)
        self._lengths = length[:, 0].tolist()
        self._factors = Constant(length * math.sqrt(math.pi / 2) / width)  # (J, d)
        t = width / length
        energies = math.sqrt(2 * math.pi) / t * torch.erf(t / math.sqrt(2))
        energies = energies + 2 / t.square() * torch.expm1(-t.square() / 2)
        self.energies = energies.prod(1)

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        low, high = self._low.like(x), self._high.like(x)
        columns = []
        for length, factor in zip(self._lengths, self._factors.like(x), strict=True):
            upper = torch.erf((high - x) / (math.sqrt(2) * length))
            lower = torch.erf((low - x) / (math.sqrt(2) * length))
            columns.append(((upper - lower) * factor).prod(1))
        return torch.stack(columns, 1)


def _independent(prior: Prior, squared: Tensor) -> ScaleEmbedding | None:
    """Return the embeddings of any independent prior, from the characteristic functions of its marginals."""
    marginals = prior.marginals()
    lengths = squared.sqrt().tolist()
    if max(Spectrum.frequencies_needed(marginals, length) for length in lengths) > _MAX_FREQUENCIES:
        return None
    return _IndependentScales([Spectrum(marginals, length) for length in lengths])


class _IndependentScales(ScaleEmbedding):
    """Independent dimensions: mu_j(x) = prod_i mu_ij(x_i) and c_j = prod_i c_ij, each from a `Spectrum`."""

    def __init__(self, spectra: Sequence[Spectrum]) -> None:
        self._spectra = spectra
        self._most_frequencies = max(len(spectrum.frequencies.value) for spectrum in spectra)
        self.energies = torch.stack([spectrum.energies.value.prod() for spectrum in spectra])

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        size = max(1, MAX_ENTRIES // (x.shape[1] * self._most_frequencies))
        columns = [
            torch.cat([checkpointed(partial(_product_of_means, spectrum), rows) for rows in x.split(size)])
            for spectrum in self._spectra
        ]
        return torch.stack(columns, 1)


def _product_of_means(spectrum: Spectrum, rows: Tensor) -> Tensor:
    return spectrum.mean(rows).prod(1)


def _product(prior: Product, squared: Tensor) -> ScaleEmbedding | None:
    """Return the embeddings of a product of blocks, or None where that of a block is not known."""
    blocks = [(dims, scale_embedding(block, squared)) for dims, block in prior.placed()]
    known = [(dims, block) for dims, block in blocks if block is not None]
    return _ProductScales(known, len(squared)) if len(known) == len(blocks) else None


class _ProductScales(ScaleEmbedding):
    """Independent blocks: the RBF is a product of RBFs of the blocks, and so are mu_j and c_j."""

    def __init__(self, blocks: Sequence[tuple[list[int], ScaleEmbedding]], count: int) -> None:
        # Indexing with a list would copy it to the device of the codes in every call.
        self._blocks = [(Constant(torch.tensor(dims)), block) for dims, block in blocks]
        self._count = count
        self.energies = torch.stack([block.energies for _, block in blocks]).prod(0)

    def mean(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n J"]:
        total = torch.ones(x.shape[0], self._count, dtype=x.dtype, device=x.device)
        for dims, block in self._blocks:
            total = total * block.mean(x[:, dims.like(x)])
        return total
