"""All supervised scores of codes against known factors, with their chance levels."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from mmdprior.errors import InputError
from mmdprior.metrics.activity import ActiveLike, select_dimensions
from mmdprior.metrics.checks import check_codes
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.scaling import unit_scale
from mmdprior.metrics.supervised.factors import Factor, Factors, Kind, read_factors
from mmdprior.metrics.supervised.scores import SCORES, compute
from mmdprior.metrics.supervised.table import Part, SupervisedProtocol, Table, split_table
from mmdprior.results import Result, to_plain

__all__ = [
    "Disentanglement",
    "FactorSummary",
    "disentanglement",
    "read_table",
    "relation_of",
    "requested_scores",
]

_MIN_ROWS = 4
_RELATIONS = {
    "mutual_information": "mutual information / entropy of the factor",
    "r2": "R2 of the factor and one code",
    "nmi": "mutual information / entropy of the factor",
    "pearson": "absolute Pearson correlation",
    "spearman": "absolute Spearman correlation",
    "importance": "importance for the prediction of the factor",
}
"""Title by name of the matrices that say which factor a code follows, the preferred one first."""


@dataclass(frozen=True)
class FactorSummary:
    """How one factor was read.

    Attributes:
        name: name of the factor.
        kind: ``discrete``, ``ordinal``, ``circular`` or ``continuous``, declared or detected.
        levels: number of distinct levels, or of bins of a continuous factor.
        missing: number of rows without a value.
        scored: whether it varies. Other factors are in no score.
    """

    name: str
    kind: Kind
    levels: int
    missing: int
    scored: bool


@dataclass(frozen=True)
class Disentanglement(Result):
    """Supervised scores of codes, with matrices, chance levels and settings.

    Attributes:
        scores: score by name; NaN where undefined, which ``warnings`` explains.
        chance: mean of every score over copies of the table with shuffled factors; empty without copies.
        chance_max: largest of them. Codes that are independent of the factors exceed it with probability
            1 / (copies + 1).
        per_factor: (factors,) part of a score per factor by name; NaN where undefined. ``entropy`` is that
            of the levels in nats.
        matrices: (d, factors) matrices by name: ``mutual_information`` in nats, ``importance`` of DCI,
            ``sap`` (accuracies), ``r2``, ``irs``, ``nmi`` of InfoMEC, ``pearson`` and ``spearman`` on the
            test rows. NaN for inactive codes and for factors that are not scored.
        factors: how every factor was read.
        active: (d,) mask of active codes. The others are in no score.
        n: number of rows of the table.
        n_train: number of training rows.
        n_test: number of test rows.
        protocol: sizes and choices of the scores.
        copies: number of shuffled copies.
        seed: seed of split, votes, probes and copies.
        warnings: properties of codes and factors that make a score doubtful or undefined.
        seconds: wall-clock time; not part of the JSON.

    Example:
        >>> import numpy as np
        >>> from mmdprior import disentanglement
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers(0, 4, (900, 2))
        >>> result = disentanglement(factors + 0.1 * rng.normal(size=(900, 2)), factors, scores=["mig"])
        >>> result.scores["mig"] > 0.9, result.chance["mig"] < 0.1
        (True, True)
        >>> result.follows()
        ('factor_0', 'factor_1')
    """

    scores: Mapping[str, float]
    chance: Mapping[str, float]
    chance_max: Mapping[str, float]
    per_factor: Mapping[str, Float[np.ndarray, "factors"]]
    matrices: Mapping[str, Float[np.ndarray, "d factors"]]
    factors: tuple[FactorSummary, ...]
    active: Bool[np.ndarray, "d"]
    n: int
    n_train: int
    n_test: int
    protocol: SupervisedProtocol
    copies: int
    seed: int
    warnings: tuple[str, ...] = ()
    seconds: float = field(default=math.nan, compare=False)

    def follows(self) -> tuple[str | None, ...]:
        """Return the name of the factor that every code follows best; None for inactive codes.

        It is the factor with the largest entry in the matrix of `relation_of`.
        """
        relation = relation_of(self.matrices, self.per_factor)
        if relation is None:
            return (None,) * len(self.active)
        best = np.nan_to_num(relation[1], nan=-np.inf)
        known = np.isfinite(best).any(1)
        return tuple(
            self.factors[int(row.argmax())].name if k else None for row, k in zip(best, known, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, NaN as None."""
        return {name: to_plain(value) for name, value in asdict(self).items() if name != "seconds"}

    def __str__(self) -> str:
        """Return a table of the scores, their chance levels, the factors and the protocol."""
        lines = [
            f"{len(self.scores)} supervised scores, {int(self.active.sum())} of {len(self.active)} codes "
            f"active; {self.n} rows, fitted on {self.n_train}, scored on {self.n_test}; probe "
            f"{self.protocol.probe}, {self.copies} shuffled, seed {self.seed}"
        ]
        for name, score in self.scores.items():
            chance = f"  chance {self.chance[name]:7.4f}" if name in self.chance else ""
            lines.append(f"  {name:20}{score:9.4f}{chance}")
        for factor in self.factors:
            missing = f", {factor.missing} missing" if factor.missing else ""
            unscored = "" if factor.scored else ", not scored"
            lines.append(f"  factor {factor.name}: {factor.kind}, {factor.levels} levels{missing}{unscored}")
        return "\n".join([*lines, *(f"  warning: {text}" for text in self.warnings)])


@torch.no_grad()
def disentanglement(
    codes: CodesLike,
    factors: Factors,
    *,
    scores: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    kinds: Kind | Sequence[Kind] | Mapping[str, Kind] | None = None,
    periods: Mapping[str, float] | None = None,
    missing: float | Literal["auto"] | None = "auto",
    active: ActiveLike = None,
    protocol: SupervisedProtocol | None = None,
    chance: int = 1,
    seed: int = 0,
) -> Disentanglement:
    """Compute supervised disentanglement scores of codes whose factors of variation are known.

    The factors need not be a full grid: pairs and groups of samples with one factor fixed are drawn from the
    rows of the table. Training and test rows are disjoint. The README of `metrics` lists the scores, and the
    differences from the reference implementation.

    The kind of a factor decides how it is scored:

    - ``discrete``: levels without order, such as shapes. Correlations use the mean of every level.
    - ``ordinal``: levels with an order. Correlations use the values. This is the default for columns with few
      distinct numbers, and the treatment of the reference.
    - ``circular``: correlations use cosine and sine. The default period is 2 pi, or the number of levels for
      integers. Many distinct numbers are binned as for ``continuous``.
    - ``continuous``: bins of equal frequency replace levels, and DCI fits a regression. This is the default
      for columns with many distinct numbers.

    Missing values are left out for their factor only. Codes that are inactive, factors with one value, and
    levels with a single row are left out where they make a score undefined. The result is then a number, or
    NaN with a warning that names the score.

    Args:
        codes: (n, d) codes, one row per sample, as for `lps`.
        factors: (n, factors) numbers, or a mapping or data frame of columns of numbers or text. Text is
            discrete.
        scores: names of scores; by default all, which need scikit-learn.
        names: names of the columns of an array; ``factor_0``, ``factor_1`` and so on by default.
        kinds: kind of all factors, one per column, or a mapping of names; detected where not declared.
        periods: period of circular factors by name, in the units of their values.
        missing: number that marks a missing value, next to NaN and empty text. By default -1 is one where it
            is the only negative number of a column with at least two other values. None for NaN only.
        active: codes to score, as d booleans or as indices; by default `active_dimensions` of the codes.
        protocol: sizes and choices; by default those of Locatello et al. (2019) with histogram trees.
        chance: number of copies with shuffled factors that measure the chance levels; 0 for none. Every copy
            costs as much as the scores.
        seed: seed of split, votes, probes and copies.

    Raises:
        InputError: codes or factors are not finite arrays of equal length; a name or kind is unknown; or
            scikit-learn is missing for a requested score.

    Example:
        >>> import numpy as np
        >>> from mmdprior import disentanglement
        >>> rng = np.random.default_rng(0)
        >>> size, shape = rng.integers(0, 5, 600), rng.choice(["square", "disc"], 600)
        >>> codes = np.stack([size, shape == "disc"], 1) + 0.1 * rng.normal(size=(600, 2))
        >>> factors = {"size": size, "shape": shape}
        >>> result = disentanglement(codes, factors, scores=["mig", "sap_r2", "factor_vae"])
        >>> [round(score, 1) for score in result.scores.values()]
        [1.0, 1.0, 1.0]
    """
    start = time.perf_counter()
    requested = requested_scores(scores)
    if chance < 0:
        raise InputError(f"chance: {chance} received; give at least 0")
    table, read, mask, notes = read_table(
        codes,
        factors,
        names=names,
        kinds=kinds,
        periods=periods,
        missing=missing,
        active=active,
        protocol=protocol or SupervisedProtocol(),
        seed=seed,
    )
    wanted = table.protocol.n_train + table.protocol.n_test
    if len(table.codes) < wanted:
        sizes = f"{len(table.train)} training and {len(table.test)} test rows"
        notes.append(f"{len(table.codes)} rows for a protocol of {wanted}: {sizes}")
    part = compute(table, requested)
    copies = [compute(table.shuffled(1 + copy), requested).scores for copy in range(chance)]
    texts = (*notes, *part.warnings())
    for text in texts:
        warnings.warn(f"disentanglement: {text}", stacklevel=2)
    return Disentanglement(
        scores=part.scores,
        chance={name: _mean([copy[name] for copy in copies]) for name in part.scores if copies},
        chance_max={name: float(np.max([copy[name] for copy in copies])) for name in part.scores if copies},
        **_all_factors(part, table, read, mask),
        factors=tuple(_summary(factor) for factor in read),
        active=mask,
        n=len(table.codes),
        n_train=len(table.train),
        n_test=len(table.test),
        protocol=table.protocol,
        copies=chance,
        seed=seed,
        warnings=texts,
        seconds=time.perf_counter() - start,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def relation_of(
    matrices: Mapping[str, Float[np.ndarray, "d factors"]],
    per_factor: Mapping[str, Float[np.ndarray, "factors"]],
) -> tuple[str, Float[np.ndarray, "d factors"]] | None:
    """Return how strongly each code follows each factor: the title and the matrix, or None without one.

    It is the first computed matrix out of ``mutual_information`` (relative to the entropy of the factor),
    ``r2``, ``nmi``, ``pearson``, ``spearman`` and ``importance``. Correlations are absolute.

    Args:
        matrices: matrices by name, as in `Disentanglement`.
        per_factor: values per factor by name, as in `Disentanglement`.
    """
    name = next((name for name in _RELATIONS if name in matrices), None)
    if name is None:
        return None
    matrix = np.abs(matrices[name])
    return _RELATIONS[name], matrix / per_factor["entropy"] if name == "mutual_information" else matrix


def requested_scores(scores: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the scores to compute, in the order of results.

    Raises:
        InputError: a name is unknown.
    """
    if isinstance(scores, str):
        scores = [scores]
    names = SCORES if scores is None else tuple(scores)
    for name in names:
        if name not in SCORES:
            raise InputError(f"scores: {name!r} received; expected some of {', '.join(SCORES)}")
    return tuple(name for name in SCORES if name in names)


def read_table(
    codes: CodesLike,
    factors: Factors,
    *,
    names: Sequence[str] | None,
    kinds: Kind | Sequence[Kind] | Mapping[str, Kind] | None,
    periods: Mapping[str, float] | None,
    missing: float | Literal["auto"] | None,
    active: ActiveLike,
    protocol: SupervisedProtocol,
    seed: int,
) -> tuple[Table, list[Factor], Bool[np.ndarray, "d"], list[str]]:
    """Return the table to score, all factors as read, the mask of active codes, and doubts about them.

    The arguments are those of `disentanglement`.
    """
    z = check_codes(codes, min_columns=1, min_rows=_MIN_ROWS)
    mask = select_dimensions(z, active)
    z = unit_scale(z)
    read, notes = read_factors(
        factors, len(z), names=names, kinds=kinds, periods=periods, missing=missing, bins=protocol.bins
    )
    constant = [factor.name for factor in read if factor.num_levels < 2]
    if constant:
        notes.append(f"factors with fewer than two values are not scored: {', '.join(map(repr, constant))}")
    if not bool(mask.any()):
        notes.append("no code is active, so the scores are those of a constant code")
    elif not bool(mask.all()):
        notes.append(f"{int((~mask).sum())} of {len(mask)} codes are inactive and not scored")
    train, test = split_table(len(z), protocol, seed)
    table = Table(
        codes=z[:, mask] if bool(mask.any()) else torch.zeros_like(z[:, :1]),
        active=int(mask.sum()),
        columns=len(mask),
        factors=tuple(factor.to(z.device) for factor in read if factor.num_levels > 1),
        train=train.to(z.device),
        test=test.to(z.device),
        protocol=protocol,
        seed=seed,
    )
    return table, read, mask.cpu().numpy(), notes


def _summary(factor: Factor) -> FactorSummary:
    return FactorSummary(factor.name, factor.kind, factor.num_levels, factor.missing, factor.num_levels > 1)


def _all_factors(part: Part, table: Table, read: list[Factor], active: np.ndarray) -> dict[str, Any]:
    """Return the numbers of all codes and factors, NaN for those that are not scored."""
    scored = np.array([factor.num_levels > 1 for factor in read])
    per_factor, matrices = {}, {}
    for name, values in part.per_factor.items():
        per_factor[name] = np.full(len(read), np.nan)
        per_factor[name][scored] = values.cpu().numpy()
    for name, values in part.matrices.items():
        matrices[name] = np.full((len(active), len(read)), np.nan)
        if table.active:
            matrices[name][np.ix_(active, scored)] = values.cpu().numpy()
    return {"per_factor": per_factor, "matrices": matrices}
