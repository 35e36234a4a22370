"""Scores before and after permutation, rotation and independent components of the codes."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.metrics.activity import ActiveLike
from mmdprior.metrics.inputs import CodesLike
from mmdprior.metrics.supervised.correlation import best_match, squared_correlation
from mmdprior.metrics.supervised.disentanglement import read_table, requested_scores
from mmdprior.metrics.supervised.extras import optional
from mmdprior.metrics.supervised.factors import Factor, Factors, Kind
from mmdprior.metrics.supervised.scores import compute
from mmdprior.metrics.supervised.table import Part, SupervisedProtocol, Table, split_table
from mmdprior.precision import in_float64
from mmdprior.predictors.moments import mean_and_std
from mmdprior.results import Result
from mmdprior.seeding import stream

__all__ = ["Alignment", "alignment"]

DEFAULT_SCORES = ("mig", "modularity", "sap_r2", "irs", "mcc_pearson", "mcc_spearman")
_MIN_ROWS = 16
_RANK = 1e-6
"""Smallest eigenvalue of the correlation of codes, relative to the largest, that is a dimension."""
_ICA_STEPS = 500


@dataclass(frozen=True)
class Alignment(Result):
    """Scores of codes and of linear maps of them, fitted on one half of the rows and scored on the other.

    Attributes:
        scores: scores by name, for ``codes``, ``permutation``, ``rotation`` and ``ica``; means of both
            halves.
        per_factor: (factors,) part of a score per factor by name, for every map; NaN where undefined.
        pearson: (d, factors) absolute correlation of codes and factors over all rows; NaN for inactive codes
            and for factors that do not vary.
        match: (factors,) code of every factor in the best one-to-one assignment over all rows, -1 for none.
        rotation: (a, a) rotation of the a active standardised codes that was fitted on the first half.
        factors: name of every factor.
        active: (d,) mask of active codes.
        n: number of rows.
        seed: seed of the halves and of all draws.
        warnings: what makes a score doubtful or undefined.
    """

    scores: Mapping[str, Mapping[str, float]]
    per_factor: Mapping[str, Mapping[str, Float[np.ndarray, "factors"]]]
    pearson: Float[np.ndarray, "d factors"]
    match: Int[np.ndarray, "factors"]
    rotation: Float[np.ndarray, "a a"]
    factors: tuple[str, ...]
    active: Bool[np.ndarray, "d"]
    n: int
    seed: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a table with one row per score and one column per map."""
        names = list(self.scores["codes"])
        lines = [" " * 22 + "".join(f"{title:>13}" for title in self.scores)]
        for name in names:
            values = "".join(f"{scores[name]:13.4f}" for scores in self.scores.values())
            lines.append(f"  {name:20}{values}")
        match = ", ".join(f"{f} {c}" for f, c in zip(self.factors, self.match, strict=True) if c >= 0)
        lines.append(f"  code of every factor: {match}")
        return "\n".join([*lines, *(f"  warning: {text}" for text in self.warnings)])


@torch.no_grad()
def alignment(
    codes: CodesLike,
    factors: Factors,
    *,
    scores: Sequence[str] = DEFAULT_SCORES,
    names: Sequence[str] | None = None,
    kinds: Kind | Sequence[Kind] | Mapping[str, Kind] | None = None,
    periods: Mapping[str, float] | None = None,
    missing: float | Literal["auto"] | None = "auto",
    active: ActiveLike = None,
    protocol: SupervisedProtocol | None = None,
    seed: int = 0,
) -> Alignment:
    """Compute supervised scores before and after the best alignment of codes and factors.

    A low MIG has three possible causes: several codes carry a factor, the codes are rotated, or they depend
    on one another. The maps separate them:

    - ``permutation`` keeps the best code of every factor only. A gain means that other codes carry factors
      too.
    - ``rotation`` is the orthogonal map of the standardised codes that is closest to the factors (orthogonal
      Procrustes, Schoenemann, 1966). It keeps all information, so a gain means that the codes are rotated.
      Circular factors get two dimensions, and discrete ones the direction in which their levels vary most.
    - ``ica`` is FastICA (Hyvarinen, 1999), which uses no factors. A gain means that independence identifies
      the rotation.

    Every map is fitted on one random half of the rows and scored on the other, and scores are means of both
    directions. ``codes`` are scored on the same halves. The scores depend on the number of rows, so they
    differ from those of `disentanglement` on all rows.

    Args:
        codes: (n, d) codes, one row per sample.
        factors: table of factors, as for `disentanglement`.
        scores: names of scores.
        names: names of the columns of an array.
        kinds: kinds of factors, as for `disentanglement`.
        periods: periods of circular factors.
        missing: marker of missing values.
        active: codes to score, as d booleans or as indices; by default `active_dimensions` of the codes.
        protocol: sizes and choices; the numbers of rows are those of a half.
        seed: seed of halves, splits, probes and FastICA.

    Raises:
        InputError: as for `disentanglement`; no code is active or no factor varies; or there are fewer than
            16 rows.

    Example:
        >>> import numpy as np
        >>> from mmdprior.metrics import alignment
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers(0, 5, (4000, 2))
        >>> rotated = (factors - 2) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
        >>> result = alignment(rotated, factors, scores=["sap_r2"])
        >>> [name for name, scores in result.scores.items() if scores["sap_r2"] > 0.9]
        ['rotation', 'ica']
    """
    names_of_scores = requested_scores(scores)
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
    if table.active == 0 or not table.factors or len(table.codes) < _MIN_ROWS:
        raise InputError(
            f"alignment: {table.active} active codes, {len(table.factors)} varying factors and "
            f"{len(table.codes)} rows received; give at least 1, 1 and {_MIN_ROWS}"
        )
    order = torch.randperm(len(table.codes), generator=stream(seed, "alignment/halves"))
    halves = [half.to(table.codes.device) for half in order.tensor_split(2)]
    parts: dict[str, list[Part]] = {}
    rotation = None
    for fit, score in (halves, halves[::-1]):
        maps, turn = _maps(table, fit)
        rotation = turn if rotation is None else rotation
        for title, function in maps.items():
            part = compute(_half(table, function, score), names_of_scores)
            notes += part.warnings()
            parts.setdefault(title, []).append(part)
    texts = tuple(dict.fromkeys(notes))
    for text in texts:
        warnings.warn(f"alignment: {text}", stacklevel=2)
    assert rotation is not None
    return Alignment(
        scores={title: _means([part.scores for part in pair]) for title, pair in parts.items()},
        per_factor={title: _per_factor(pair, read) for title, pair in parts.items()},
        **_all_codes(table, read, mask),
        rotation=rotation.cpu().numpy(),
        factors=tuple(factor.name for factor in read),
        active=mask,
        n=len(table.codes),
        seed=seed,
        warnings=texts,
    )


def _means(halves: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(half[name] for half in halves) / len(halves) for name in halves[0]}


def _per_factor(halves: list[Part], read: list[Factor]) -> dict[str, Float[np.ndarray, "factors"]]:
    """Return the means of both halves for all factors, NaN for those that are not scored."""
    scored = np.array([factor.num_levels > 1 for factor in read])
    means = {}
    for name in halves[0].per_factor:
        means[name] = np.full(len(read), math.nan)
        means[name][scored] = np.mean([half.per_factor[name].cpu().numpy() for half in halves], 0)
    return means


_Map = Callable[[Tensor], Tensor]


def _maps(table: Table, rows: Int[Tensor, "m"]) -> tuple[dict[str, _Map], Float[Tensor, "a a"]]:
    """Return the maps of codes that are fitted on some rows, and the matrix of the rotation."""
    mean, std = mean_and_std(in_float64(table.codes[rows]))
    std = torch.where(std > 0, std, 1.0)

    def standardised(codes: Tensor) -> Tensor:
        return (in_float64(codes) - mean) / std

    z = standardised(table.codes[rows])
    factors = [factor.take(rows) for factor in table.factors]
    match = best_match(squared_correlation(z, factors).sqrt().nan_to_num())
    kept = match[match >= 0].to(z.device)
    turn = _procrustes(z, factors)
    unmix = _independent_components(z, table.seed)
    return {
        "codes": standardised,
        "permutation": lambda codes: standardised(codes)[:, kept],
        "rotation": lambda codes: standardised(codes) @ turn,
        "ica": lambda codes: standardised(codes) @ unmix,
    }, turn


def _procrustes(z: Float[Tensor, "m a"], factors: list[Factor]) -> Float[Tensor, "a a"]:
    """Return the orthogonal matrix R that minimises |z R - v|, with v the factors, filled up with zeros.

    With more columns of factors than codes, the first ones count. Missing values are 0, the mean.
    """
    a = z.shape[1]
    columns = torch.cat([_direction(z, factor) for factor in factors], 1)[:, :a]
    # R = U V' for the singular value decomposition z' v = U S V'.
    left, _, right = torch.linalg.svd(z.T @ columns, full_matrices=True)
    square = torch.eye(a, dtype=z.dtype, device=z.device)
    square[: len(right), : len(right)] = right
    return left @ square


def _direction(z: Float[Tensor, "m a"], factor: Factor) -> Float[Tensor, "m p"]:
    """Return the standardised values of a factor; of a discrete one, from the mean codes of its levels."""
    present = (factor.levels >= 0)[:, None]
    if factor.values is not None:
        values = factor.values.to(z)
    else:
        count = torch.bincount(factor.levels[present[:, 0]], minlength=factor.num_levels)
        sums = z.new_zeros(len(count), z.shape[1]).index_add_(0, factor.levels.clamp(min=0), z * present)
        means = sums / count.clamp(min=1).sqrt()[:, None]  # weighted by the root of the rows of a level
        direction = torch.linalg.svd(means, full_matrices=False).Vh[0]
        values = (sums / count.clamp(min=1)[:, None] @ direction)[factor.levels.clamp(min=0)][:, None]
    rows = present.sum().clamp(min=1)
    centred = (values - (values * present).sum(0) / rows) * present
    scale = (centred.square().sum() / rows).sqrt()
    return centred / torch.where(scale > 0, scale, 1.0)


def _independent_components(z: Float[Tensor, "m a"], seed: int) -> Float[Tensor, "a b"]:
    """Return the matrix that FastICA unmixes standardised codes with, without directions of no variance."""
    strength, directions = torch.linalg.eigh(z.T @ z / len(z))
    kept = strength > _RANK * strength[-1]
    white = directions[:, kept] / strength[kept].sqrt()
    if white.shape[1] < 2:
        return white
    model = optional("sklearn.decomposition", "alignment").FastICA(
        whiten=False, max_iter=_ICA_STEPS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence: Gaussian codes have no independent components
        model.fit((z @ white).cpu().numpy())
    return white @ torch.from_numpy(model.components_.T).to(white)


def _half(table: Table, function: _Map, rows: Int[Tensor, "m"]) -> Table:
    """Return the table of some rows with mapped codes, split into training and test rows."""
    codes = function(table.codes[rows])
    train, test = split_table(len(rows), table.protocol, table.seed)
    return replace(
        table,
        codes=codes,
        active=codes.shape[1],
        columns=codes.shape[1],
        factors=tuple(factor.take(rows) for factor in table.factors),
        train=train.to(rows.device),
        test=test.to(rows.device),
    )


def _all_codes(table: Table, read: list[Factor], active: np.ndarray) -> dict[str, Any]:
    """Return correlations over all rows, and the code of every factor, in the numbering of all codes."""
    scored = np.array([factor.num_levels > 1 for factor in read])
    correlation = squared_correlation(in_float64(table.codes), list(table.factors)).sqrt().cpu()
    matrix = np.full((len(active), len(read)), math.nan)
    matrix[np.ix_(active, scored)] = correlation.numpy()
    match = np.full(len(read), -1)
    own = best_match(correlation.nan_to_num()).numpy()
    match[scored] = np.where(own >= 0, np.flatnonzero(active)[own], -1)
    return {"pearson": matrix, "match": match}
