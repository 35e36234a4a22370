"""Companions of LPS: other views of dependence, and how far the codes are from their intended prior."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.evaluation.codes import active_dimensions
from mmdprior.evaluation.covariance import (
    covariance_of,
    covariance_ratio,
    expected_total_correlation,
    normal_scores,
    some_rows,
    spectral_rank,
    total_correlation,
)
from mmdprior.evaluation.hsic import JointStatistic, dhsic
from mmdprior.evaluation.lps import check_codes, or_none
from mmdprior.evaluation.notebook import Shown
from mmdprior.evaluation.pairs import PairStatistic, distance_correlation, mutual_information
from mmdprior.kernels import WAE_IMQ
from mmdprior.latent import Latent
from mmdprior.priors import Prior
from mmdprior.regularizers import mmd
from mmdprior.seeding import stream

__all__ = ["Independence", "PriorMatch", "effective_rank", "independence"]

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


@dataclass
class PriorMatch:
    """MMD^2 between codes and a prior in null standard deviations, by one fixed kernel.

    The kernel is the seven-scale IMQ of WAE-MMD bound to the prior and the estimator the unbiased
    one, whatever a run was trained with, so that runs are comparable. The null is 200 prior batches
    against the one that the codes are compared with, drawn once. A joint kernel: at d >= 32 it sees
    scale and shift, hardly dependence.

    Attributes:
        prior: the intended prior.
        n: codes and draws a batch; the score grows with it, so compare equal n alone.
        seed: of the draws.
    """

    prior: Prior
    n: int = 512
    seed: int = 0

    _DRAWS = 200

    def __post_init__(self) -> None:
        if self.n < 2:
            raise InputError(f"n: {self.n} received; give at least 2")
        self._kernel = WAE_IMQ().bind(self.prior)
        self._null: tuple[float, float] | None = None

    @torch.no_grad()
    def __call__(self, codes: Float[Tensor, "m d"]) -> float:
        """Return (MMD^2 - null mean) / null standard deviation over n random codes; NaN for fewer."""
        if len(codes) < self.n:
            return float("nan")
        if self._null is None:
            null = torch.tensor([self._estimate(self._draw(1 + i)) for i in range(self._DRAWS)])
            self._null = (float(null.mean()), float(null.std()))
        rows = torch.randperm(len(codes), generator=stream(self.seed, "rows"))[: self.n]
        mean, std = self._null
        return (self._estimate(codes[rows.to(codes.device)]) - mean) / std

    def _draw(self, index: int) -> Tensor:
        return self.prior.sample(self.n, stream(self.seed, "match", index))

    def _estimate(self, codes: Tensor) -> float:
        reference = self._draw(0)
        return float(mmd(codes.to(reference), reference, self._kernel))


def effective_rank(codes: Float[Tensor, "n d"]) -> float:
    """Exponential of the entropy of the covariance's normalised eigenvalues (Roy & Vetterli, 2007).

    Between 1, all variance in one direction, and d, equal variance in all; NaN without any variance.
    """
    return spectral_rank(covariance_of(codes)) if codes.numel() else math.nan


@dataclass(frozen=True)
class Independence(Shown):
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
        plain |= {name: or_none(float(getattr(self, name))) for name in _CLOSED}
        for name in ("mutual_information", "distance_correlation"):
            pairs: PairStatistic | None = getattr(self, name)
            if pairs is not None:
                plain[name] = pairs.to_dict()
        if self.dhsic is not None:
            numbers = asdict(self.dhsic)
            plain["dhsic"] = {**numbers, "standardised": or_none(self.dhsic.standardised)}
        if self.match is not None:
            plain["mmd_standardised"] = or_none(self.match)
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
