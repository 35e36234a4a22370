"""Companions of LPS: other views of dependence, and how far the codes are from their intended prior."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.latent import Latent
from mmdprior.metrics.activity import active_dimensions, effective_rank
from mmdprior.metrics.covariance import (
    covariance_of,
    covariance_ratio,
    expected_total_correlation,
    normal_scores,
    some_rows,
    spectral_rank,
    total_correlation,
)
from mmdprior.metrics.hsic import JointStatistic, dhsic
from mmdprior.metrics.pairs import PairStatistic, distance_correlation, mutual_information
from mmdprior.metrics.prior_match import PriorMatch
from mmdprior.metrics.protocol import check_codes
from mmdprior.results import Result, finite_or_none

__all__ = ["Independence", "independence"]

_ACTIVE_UNIT = 0.01
_RANKED = 20_000
_CLOSED = (
    "effective_rank",
    "active_units",
    "total_correlation",
    "total_correlation_chance",
    "total_correlation_ranks",
    "total_correlation_ranks_chance",
    "covariance_ratio",
)


@dataclass(frozen=True)
class Independence(Result):
    """Companions of LPS: other views of the dependence between active dimensions.

    Attributes:
        n: rows of the codes.
        active: dimensions that carry information; all else here is of them alone.
        effective_rank: see `effective_rank`.
        active_units: dimensions whose mean varies by more than .01 over the data, of all (Burda et al.,
            2015); it depends on the scale of deterministic codes.
        total_correlation: of the Gaussian with the codes' covariance, in nats.
        total_correlation_chance: what independent Gaussian codes would give at this n.
        total_correlation_ranks: of rank-Gaussianised codes: a lower bound of their total correlation.
        total_correlation_ranks_chance: likewise by chance, at the rows used for ranks and pairs.
        covariance_ratio: see `covariance_ratio`; our reading of the term.
        mutual_information: of pairs, in nats; None unless asked for.
        distance_correlation: of pairs, squared; None unless asked for.
        dhsic: of all dimensions together; None unless asked for.
        match: standardised MMD to the intended prior, all dimensions; None without one.
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

    def scalars(self) -> dict[str, float]:
        """Return the numbers by the last part of their TensorBoard tag, ``independence/<name>``."""
        values = {name: float(getattr(self, name)) for name in _CLOSED}
        for name in ("mutual_information", "distance_correlation"):
            pairs: PairStatistic | None = getattr(self, name)
            if pairs is not None:
                values |= {name: pairs.mean, f"{name}_max": pairs.max}
        if self.dhsic is not None:
            values |= {"dhsic_standardised": self.dhsic.standardised, "dhsic_p_value": self.dhsic.p_value}
        if self.match is not None:
            values["mmd_standardised"] = self.match
        return values

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, ready for JSON; what is not finite is None."""
        plain: dict[str, object] = {"n": self.n, "active": self.active.tolist()}
        plain |= {name: finite_or_none(float(getattr(self, name))) for name in _CLOSED}
        for name in ("mutual_information", "distance_correlation"):
            pairs: PairStatistic | None = getattr(self, name)
            if pairs is not None:
                plain[name] = pairs.to_dict()
        if self.dhsic is not None:
            numbers = asdict(self.dhsic)
            plain["dhsic"] = {**numbers, "standardised": finite_or_none(self.dhsic.standardised)}
        if self.match is not None:
            plain["mmd_standardised"] = finite_or_none(self.match)
        return plain

    def __str__(self) -> str:
        """One line a companion."""
        lines = {
            "total correlation": f"{self.total_correlation:.4f} nats as if Gaussian (chance "
            f"{self.total_correlation_chance:.4f}); of ranks, a lower bound: "
            f"{self.total_correlation_ranks:.4f} (chance {self.total_correlation_ranks_chance:.4f})",
            "covariance ratio": f"{self.covariance_ratio:.4f} (sum C_ii^2 / sum C_ij^2, our reading)",
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
    codes: Tensor | np.ndarray,
    *,
    means: Tensor | None = None,
    active: Tensor | np.ndarray | None = None,
    match: PriorMatch | None = None,
    thorough: bool = True,
    seed: int = 0,
) -> Independence:
    """Compute the companions of LPS for one set of codes.

    Args:
        codes: (n, d), any real dtype; computed on their device, closed forms in float64.
        means: posterior means, where the codes are draws: active units are counted on them.
        active: (d,) dimensions to look at; by default those whose standard deviation exceeds 1e-3 of
            the largest.
        match: the intended prior; None leaves that number out.
        thorough: pairs and joint statistics too; they cost d^2 n and d^2 at 1,000 rows.
        seed: of the rows and permutations.

    Raises:
        InputError: codes that `lps` would refuse.
    """
    z = check_codes(codes)
    mask = active_dimensions(Latent(z, z)) if active is None else torch.as_tensor(active, device=z.device)
    if mask.shape != (z.shape[1],):
        raise InputError(f"active: shape {tuple(mask.shape)} received; give ({z.shape[1]},)")
    kept = z if bool(mask.all()) else z[:, mask.bool()]
    dims = mask.bool().cpu().numpy()
    pairs = thorough and dims.sum() >= 2
    return Independence(
        n=len(z),
        active=dims,
        active_units=int(((z if means is None else means).var(0) > _ACTIVE_UNIT).sum()),
        **_closed_forms(kept, seed),
        mutual_information=mutual_information(kept, seed=seed).within(dims) if pairs else None,
        distance_correlation=distance_correlation(kept, seed=seed).within(dims) if pairs else None,
        dhsic=dhsic(kept, seed=seed) if pairs else None,
        match=None if match is None else match(z),
    )


def _closed_forms(z: Tensor, seed: int) -> dict[str, float]:
    """Return what follows from covariances; NaN, but for the rank, with fewer than two dimensions."""
    if z.shape[1] < 2:
        values = dict.fromkeys((name for name in _CLOSED if name != "active_units"), math.nan)
        return {**values, "effective_rank": effective_rank(z)}
    covariance = covariance_of(z)
    some = some_rows(z, _RANKED, seed, "ranks")
    return {
        "effective_rank": spectral_rank(covariance),
        "total_correlation": total_correlation(covariance),
        "total_correlation_chance": expected_total_correlation(*z.shape),
        "total_correlation_ranks": total_correlation(covariance_of(normal_scores(some))),
        "total_correlation_ranks_chance": expected_total_correlation(*some.shape),
        "covariance_ratio": covariance_ratio(covariance),
    }
