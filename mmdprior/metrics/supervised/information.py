"""Scores from the mutual information of codes and factors: MIG, MIG-sup, DCIMIG, JEMMIG, modularity, MED."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.metrics.supervised.factors import Factor
from mmdprior.metrics.supervised.table import Part, Table
from mmdprior.precision import in_float64

__all__ = [
    "Information",
    "completeness",
    "disentanglement_of",
    "information_of",
    "information_scores",
    "top_two",
]

_ROUNDING = 1e-12
"""Mutual information in nats that is the rounding error of sums of entropies, so 0."""


@dataclass(frozen=True, eq=False)
class Information:
    """Plug-in mutual information of binned codes and factor levels, in nats.

    Attributes:
        mutual: (d, factors) mutual information.
        factor_entropy: (factors,) entropy of the levels.
        code_entropy: (d, factors) entropy of the binned code over rows where the factor is present.
    """

    mutual: Float[Tensor, "d factors"]
    factor_entropy: Float[Tensor, "factors"]
    code_entropy: Float[Tensor, "d factors"]


def equal_width_bins(codes: Float[Tensor, "n d"], bins: int) -> Int[Tensor, "d n"]:
    """Return the bin of every code, with equal-width bins from the smallest to the largest code."""
    columns = codes.T.contiguous()
    low, high = columns.amin(1, keepdim=True), columns.amax(1, keepdim=True)
    steps = torch.arange(1, bins, device=codes.device, dtype=codes.dtype)
    edges = low + steps * ((high - low) / bins)
    return torch.searchsorted(edges, columns, right=True)


def information_of(cells: Int[Tensor, "d n"], cell_count: int, factors: list[Factor]) -> Information:
    """Return the mutual information of discrete codes and factors; missing values are left out per factor."""
    tables = [_counts(cells, cell_count, factor) for factor in factors]
    mutual, code_entropy, factor_entropy = [], [], []
    for counts in tables:
        shares = in_float64(counts) / counts[0].sum().clamp(min=1)
        joint, codes, levels = (_entropy(s) for s in (shares.flatten(1), shares.sum(2), shares.sum(1)))
        shared = codes + levels - joint
        mutual.append(torch.where(shared > _ROUNDING, shared, 0.0))
        code_entropy.append(codes)
        factor_entropy.append(levels[0])
    return Information(torch.stack(mutual, 1), torch.stack(factor_entropy), torch.stack(code_entropy, 1))


def _counts(cells: Int[Tensor, "d n"], cell_count: int, factor: Factor) -> Int[Tensor, "d cells levels"]:
    """Return the contingency table of every code and one factor."""
    present = factor.levels >= 0
    d, levels = len(cells), factor.num_levels
    kept = cells if bool(present.all()) else cells[:, present]
    # One bincount for all tables: code, cell and level of every row in one index.
    first = torch.arange(d, device=cells.device)[:, None] * cell_count
    flat = ((first + kept) * levels + factor.levels[present]).flatten()
    return torch.bincount(flat, minlength=d * cell_count * levels).view(d, cell_count, levels)


def _entropy(shares: Float[Tensor, "d k"]) -> Float[Tensor, "d"]:
    return -torch.special.xlogy(shares, shares).sum(1)


def top_two(matrix: Float[Tensor, "k m"]) -> tuple[Float[Tensor, "m"], Float[Tensor, "m"]]:
    """Return the largest and the second largest entry of every column; the second of one entry is 0."""
    if len(matrix) == 1:
        return matrix[0], torch.zeros_like(matrix[0])
    best = matrix.topk(2, 0).values
    return best[0], best[1]


def information_scores(table: Table) -> Part:
    """Return the scores that follow from the mutual information of equal-width bins.

    With I_jk the mutual information of code j and factor k and H_k the entropy of factor k:

    - ``mig`` (Chen et al., 2018): mean over factors of (I_1 - I_2) / H, with the two best codes.
    - ``mig_sup`` (Li et al., 2020): mean over codes of the gap of the two best I_jk / H_k.
    - ``dcimig`` (Sepliarskaia et al., 2019): a code belongs to its best factor, with the gap to the second
      one; the sum over factors of the largest gap, over sum_k H_k.
    - ``jemmig`` (Do & Tran, 2020): mean of 1 - (H(v, z) - I_1 + I_2) / (H + log bins), with z the best code.
    - ``modularity`` (Ridgeway & Mozer, 2018): mean over codes of 1 - sum_k I_jk^2 / (max^2 (K - 1)), without
      the largest in the sum.
    - ``med`` (Cao et al., 2022): disentanglement of the importances I_jk / sum_j I_jk.
    """
    bins = table.protocol.bins
    info = information_of(equal_width_bins(table.train_codes, bins), bins, table.train_factors)
    entropy = torch.where(info.factor_entropy > 0, info.factor_entropy, math.nan)
    part = Part({}, matrices={"mutual_information": info.mutual})
    part.per_factor["entropy"] = info.factor_entropy.cpu()
    first, second = top_two(info.mutual)
    part.add_mean("mig", (first - second) / entropy, table.factors)
    part.add_mean("jemmig", _jemmig(info, entropy, bins), table.factors)
    relative = (info.mutual / entropy).nan_to_num()
    part.scores["mig_sup"] = float(torch.sub(*top_two(relative.T)).mean())
    part.scores["dcimig"] = _dcimig(info)
    part.scores["modularity"] = _modularity(info.mutual)
    shares = info.mutual / info.mutual.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    part.scores["med"] = disentanglement_of(shares)
    if len(table.factors) == 1:
        part.notes |= dict.fromkeys(("modularity", "med"), "undefined for one factor")
    return part


def _jemmig(info: Information, entropy: Tensor, bins: int) -> Float[Tensor, "factors"]:
    """Return the score of every factor; 0 if no code has information about it."""
    best = info.mutual.argmax(0)
    first, second = top_two(info.mutual)
    joint = entropy + info.code_entropy.gather(0, best[None])[0] - first
    return torch.where(first > 0, 1 - (joint - first + second) / (entropy + math.log(bins)), 0 * entropy)


def _dcimig(info: Information) -> float:
    first, second = top_two(info.mutual.T)
    owner = info.mutual.argmax(1)
    gaps = torch.zeros_like(info.factor_entropy).scatter_reduce(0, owner, first - second, "amax")
    total = info.factor_entropy.sum()
    return float(gaps.sum() / total) if total > 0 else math.nan


def _modularity(mutual: Float[Tensor, "d factors"]) -> float:
    """Return the mean over codes; a code without information has modularity 0."""
    factors = mutual.shape[1]
    if factors == 1:
        return math.nan
    squared = mutual.square()
    largest = squared.amax(1)
    rest = (squared.sum(1) - largest) / (torch.where(largest > 0, largest, 1.0) * (factors - 1))
    return float(torch.where(largest > 0, 1 - rest, 0.0).mean())


def disentanglement_of(importance: Float[Tensor, "d factors"]) -> float:
    """Return the mean over codes of 1 - H / log(factors), weighted by importance.

    H is the entropy of a code's importances (Eastwood & Williams, 2018). It is NaN for one factor, and 0 if
    all importances are 0.
    """
    if importance.shape[1] == 1:
        return math.nan
    return _weighted_purity(importance, importance.shape[1])


def completeness(importance: Float[Tensor, "d factors"], columns: int) -> float:
    """Return the mean over factors of 1 - H / log(columns), weighted by importance.

    Args:
        importance: importance of every active code for every factor.
        columns: number of codes, active or not. It is NaN for one.
    """
    return math.nan if columns == 1 else _weighted_purity(importance.T, columns)


def _weighted_purity(importance: Float[Tensor, "k m"], base: int) -> float:
    sums = importance.sum(1)
    total = float(sums.sum())
    if total == 0:
        return 0.0
    shares = importance / torch.where(sums > 0, sums, 1.0)[:, None]
    return float(((1 - _entropy(shares) / math.log(base)) * sums).sum()) / total
