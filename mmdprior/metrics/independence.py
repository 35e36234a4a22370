"""Measures of dependence other than LPS, and the distance of the codes to their intended prior."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmdprior.metrics.activity import ActiveLike, effective_rank, select_dimensions
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.covariance import (
    covariance_of,
    covariance_ratio,
    expected_total_correlation,
    random_rows,
    rank_covariance,
    spectral_rank,
    total_correlation,
)
from mmdprior.metrics.group_labels import GroupLabels, make_grouping
from mmdprior.metrics.hsic import JointStatistic, dhsic
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.pairs import PairStatistic, distance_correlation, mutual_information
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.scaling import unit_scale
from mmdprior.predictors.moments import mean_and_std
from mmdprior.results import Result, finite_or_none

__all__ = ["Independence", "independence"]

_ACTIVE_UNIT_VARIANCE = 0.01
_RANK_ROWS = 20_000
_MIN_ROWS = 30
"""Fewest independent rows of the statistics of pairs and of all dimensions jointly."""
_CLOSED_FORMS = (
    "effective_rank",
    "active_units",
    "total_correlation",
    "total_correlation_chance",
    "total_correlation_ranks",
    "total_correlation_ranks_chance",
    "covariance_ratio",
)
_PAIRS = ("mutual_information", "distance_correlation")


@dataclass(frozen=True)
class Independence(Result):
    """Measures of dependence between active dimensions, other than LPS.

    Attributes:
        n: number of rows of the codes.
        active: (d,) mask of active dimensions; all other attributes but ``active_units`` and ``match`` are
            of these only.
        effective_rank: effective rank of the covariance, see `effective_rank`.
        active_units: number of dimensions, of all d, whose mean has a variance above 0.01 (Burda et al.,
            2015). It depends on the scale of deterministic codes.
        total_correlation: total correlation of a Gaussian with the codes' covariance, in nats.
        total_correlation_chance: its mean for independent Gaussian codes at this n.
        total_correlation_ranks: the same for rank-Gaussianised codes, with ties broken at random: a lower
            bound of their total correlation.
        total_correlation_ranks_chance: its mean for independent codes, at the rows used for ranks.
        covariance_ratio: share of squared covariances on the diagonal, see `covariance_ratio`.
        mutual_information: mutual information of pairs, in nats; None unless ``thorough``.
        distance_correlation: squared distance correlation of pairs; None unless ``thorough``.
        dhsic: joint statistic of all dimensions; None unless ``thorough``.
        match: standardised MMD of all dimensions to the intended prior; None without a prior.
        groups: number of groups of dependent rows, or of blocks; None for independent rows. Total
            correlations, statistics of pairs, ``dhsic`` and ``match`` are then of one row per group.

    Example:
        >>> import torch
        >>> from mmdprior import independence
        >>> result = independence(torch.randn(200, 2), thorough=False)
        >>> result.active_units, result.mutual_information
        (2, None)
        >>> sorted(result.scalars())[:3]
        ['active_units', 'covariance_ratio', 'effective_rank']
    """

    n: int
    active: Bool[np.ndarray, "d"]
    effective_rank: float
    active_units: int
    total_correlation: float
    total_correlation_chance: float
    total_correlation_ranks: float
    total_correlation_ranks_chance: float
    covariance_ratio: float
    mutual_information: PairStatistic | None = None
    distance_correlation: PairStatistic | None = None
    dhsic: JointStatistic | None = None
    match: float | None = None
    groups: int | None = None

    def scalars(self) -> dict[str, float]:
        """Return the numbers by the last part of their TensorBoard tag, ``independence/<name>``."""
        values = {name: float(getattr(self, name)) for name in _CLOSED_FORMS}
        for name in _PAIRS:
            pairs: PairStatistic | None = getattr(self, name)
            if pairs is not None:
                values |= {name: pairs.mean, f"{name}_max": pairs.max}
        if self.dhsic is not None:
            values |= {"dhsic_standardised": self.dhsic.standardised, "dhsic_p_value": self.dhsic.p_value}
        if self.match is not None:
            values["mmd_standardised"] = self.match
        return values

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists; numbers that are not finite become None."""
        plain: dict[str, object] = {"n": self.n, "active": self.active.tolist()}
        plain |= {name: finite_or_none(float(getattr(self, name))) for name in _CLOSED_FORMS}
        for name in (*_PAIRS, "dhsic"):
            statistic: Result | None = getattr(self, name)
            if statistic is not None:
                plain[name] = statistic.to_dict()
        if self.groups is not None:
            plain["groups"] = self.groups
        if self.match is not None:
            plain["mmd_standardised"] = finite_or_none(self.match)
        return plain

    def __str__(self) -> str:
        """Return one line per measure."""
        lines = {
            "total correlation": f"{self.total_correlation:.4f} nats as if Gaussian (chance "
            f"{self.total_correlation_chance:.4f}); of ranks, a lower bound: "
            f"{self.total_correlation_ranks:.4f} (chance {self.total_correlation_ranks_chance:.4f})",
            "covariance ratio": f"{self.covariance_ratio:.4f} (sum C_ii^2 / sum C_ij^2, our definition)",
            "mutual information": self.mutual_information,
            "distance corr. squared": self.distance_correlation,
            "dHSIC, joint": self.dhsic,
            "active units": f"{self.active_units} of {len(self.active)}",
            "effective rank": f"{self.effective_rank:.2f} of {int(self.active.sum())} active",
            "MMD to the prior": None if self.match is None else f"{self.match:+.1f} null standard deviations",
        }
        return "\n".join(f"{name:23}{text}" for name, text in lines.items() if text is not None)


@torch.no_grad()
def independence(
    codes: CodesLike,
    *,
    means: CodesLike = None,
    active: ActiveLike = None,
    match: PriorMatch | None = None,
    thorough: bool = True,
    seed: int = 0,
    groups: GroupLabels = None,
    block_length: int | None = None,
) -> Independence:
    """Compute measures of dependence other than LPS for one set of codes.

    With ``groups``, every measure that has a chance level or a p-value is computed from one random row per
    group, or from one row per block: their formulas hold for independent rows. Effective rank, active units
    and the covariance ratio use all rows.

    Args:
        codes: (n, d) codes of any real type, one row per sample. Closed forms are computed in float64.
        means: (n, d) posterior means, if the codes are samples: active units are counted on the means.
        active: dimensions, as d booleans or as indices; by default `active_dimensions` of the codes.
        match: distance to the intended prior; None to leave it out.
        thorough: whether to compute the statistics of pairs and of all dimensions jointly, too. Pairs cost
            d^2 n for mutual information; the other statistics use 1,000 rows.
        seed: seed of subsamples and permutations.
        groups: groups of dependent rows, as for `lps`.
        block_length: rows per block, as for `lps`.

    Raises:
        InputError: codes or groups are invalid, as for `lps`; or ``active`` is neither booleans nor indices.

    Example:
        >>> import torch
        >>> from mmdprior import independence
        >>> z = torch.randn(500, 3)
        >>> result = independence(z)
        >>> result.total_correlation < 0.05, result.dhsic.p_value > 0.001
        (True, True)
        >>> z[:, 2] = z[:, 0]
        >>> i, j, value = independence(z).distance_correlation.strongest(1)[0]
        >>> i, j, round(value, 3)
        (0, 2, 1.0)
    """
    z = check_codes(codes)
    mask = select_dimensions(z, active)
    kept = z if bool(mask.all()) else z[:, mask]
    scaled = unit_scale(kept)
    dims = mask.cpu().numpy()
    _, std = mean_and_std(z if means is None else check_codes(means))
    grouping = make_grouping(groups, block_length, scaled)
    sampled = scaled
    if groups is not None:
        rows = grouping.independent_rows(seed).to(z.device)
        sampled, z = scaled[rows], z[rows]
    pairs = thorough and dims.sum() >= 2 and len(sampled) >= _MIN_ROWS
    return Independence(
        n=len(kept),
        groups=None if groups is None else grouping.count,
        active=dims,
        active_units=int((std > math.sqrt(_ACTIVE_UNIT_VARIANCE)).sum()),
        **_closed_forms(kept, sampled, seed),
        mutual_information=mutual_information(sampled, seed=seed).within(dims) if pairs else None,
        distance_correlation=distance_correlation(sampled, seed=seed).within(dims) if pairs else None,
        dhsic=dhsic(sampled, seed=seed) if pairs else None,
        match=None if match is None else match(z),
    )


def _closed_forms(z: Tensor, sampled: Tensor, seed: int) -> dict[str, float]:
    """Return the functions of covariances; with fewer than two dimensions, all but the rank are NaN.

    Args:
        z: active columns of the codes.
        sampled: independent rows of the same columns after `unit_scale`, for measures without a scale.
        seed: seed of the rows that are ranked.
    """
    if z.shape[1] < 2:
        values = dict.fromkeys((name for name in _CLOSED_FORMS if name != "active_units"), math.nan)
        return {**values, "effective_rank": effective_rank(z)}
    covariance = covariance_of(z)
    shape = covariance if sampled is z else covariance_of(sampled)
    ranked = random_rows(sampled, _RANK_ROWS, seed, "ranks")
    return {
        "effective_rank": spectral_rank(covariance),
        "total_correlation": total_correlation(shape),
        "total_correlation_chance": expected_total_correlation(*sampled.shape),
        "total_correlation_ranks": total_correlation(rank_covariance(ranked)),
        "total_correlation_ranks_chance": expected_total_correlation(*ranked.shape),
        "covariance_ratio": covariance_ratio(covariance),
    }
