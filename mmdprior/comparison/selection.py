"""Model selection without labels: how unsupervised numbers of runs rank with their supervised scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmdprior.comparison.groups import Group
from mmdprior.comparison.quantities import dependence_in, lps_in
from mmdprior.comparison.supervised import supervised_in
from mmdprior.comparison.table import Cell, Table
from mmdprior.errors import InputError
from mmdprior.metrics.supervised.correlation import average_ranks
from mmdprior.metrics.supervised.udr import udr
from mmdprior.results import Result, finite_or_none
from mmdprior.runs.read import Run

__all__ = ["Selection", "select"]

_FEWEST = 4
"""Fewest runs from which a rank correlation is computed."""

_OTHERS = {
    "reconstruction/psnr": "PSNR",
    "reconstruction/r2": "R2 of reconstructions",
    "match/mmd_standardised": "MMD to prior",
    "udr": "UDR",
}

_UDR_ROWS = 2000


@dataclass(frozen=True)
class Selection(Result):
    """Rank correlations over runs, and the run that each unsupervised number would select.

    Attributes:
        numbers: titles of the unsupervised numbers, the rows.
        scores: names of the supervised scores, the columns.
        correlation: Spearman correlation over runs, (numbers, scores); NaN for fewer than four runs with
            both, and where one of them is constant.
        runs: number of runs with both, (numbers, scores).
        selected: per number, the label and seed of the run with the lowest and with the highest value.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.comparison.groups import group_runs
        >>> from mmdprior.comparison.selection import select
        >>> from mmdprior.runs import Run
        >>> scalars = [{"lps/mlp": 0.1 * i, "disentanglement/mig": 0.5 - 0.1 * i} for i in range(4)]
        >>> runs = [Run(Path("r"), {"name": "vae", "seed": i}, scalars=s) for i, s in enumerate(scalars)]
        >>> select(group_runs(runs)).correlation.tolist()
        [[-1.0]]
    """

    numbers: tuple[str, ...]
    scores: tuple[str, ...]
    correlation: np.ndarray
    runs: np.ndarray
    selected: tuple[tuple[str, str], ...]

    def table(self) -> Table:
        """Return the correlations as a table, with the selected runs."""
        heads = ["number", *self.scores, "run with the lowest", "run with the highest"]
        rows = []
        for i, number in enumerate(self.numbers):
            pairs = zip(self.correlation[i].tolist(), self.runs[i].tolist(), strict=True)
            rows.append([Cell(number), *(_cell(*pair) for pair in pairs), *map(Cell, self.selected[i])])
        caption = (
            f"Spearman correlation over up to {int(self.runs.max(initial=0))} runs. Without a relation its "
            "standard deviation is 1 / sqrt(runs - 1)."
        )
        return Table([Cell(head) for head in heads], rows, caption)

    def to_dict(self) -> dict[str, Any]:
        """Return correlations and numbers of runs by unsupervised number and supervised score."""
        return {
            number: {
                "correlation": dict(zip(self.scores, map(finite_or_none, values), strict=True)),
                "runs": dict(zip(self.scores, counts.tolist(), strict=True)),
                "lowest": ends[0],
                "highest": ends[1],
            }
            for number, values, counts, ends in zip(
                self.numbers, self.correlation.tolist(), self.runs, self.selected, strict=True
            )
        }

    def __str__(self) -> str:
        table = self.table()
        return f"{table}\n{table.caption}"


def select(groups: Sequence[Group]) -> Selection:
    """Correlate every unsupervised number with every supervised score over all runs.

    The unsupervised numbers are LPS of each predictor, the other measures of dependence, the match to the
    prior, the quality of reconstructions, and UDR (Duan et al., ICLR 2020) among the seeds of a configuration
    whose codes of the same images are saved.

    Args:
        groups: groups of runs; each run counts once.

    Raises:
        InputError: no run has supervised scores.
    """
    runs = [(f"{group.label} seed {run.seed}", run) for group in groups for run in group.runs]
    tags = list(dict.fromkeys(tag for group in groups for tag in group.tags))
    names = supervised_in(tags)
    if not names:
        raise InputError("--select: no run has supervised scores; train with evaluation.disentanglement")
    agreement = _udr(groups)
    titles = {q.tag: q.title for q in [*lps_in(tags), *dependence_in(tags)]}
    titles |= {tag: title for tag, title in _OTHERS.items() if tag in tags or (tag == "udr" and agreement)}
    found = [{**run.scalars, "udr": agreement.get(id(run), math.nan)} for _, run in runs]

    def column(tag: str) -> np.ndarray:
        return np.array([scalars.get(tag, math.nan) for scalars in found])

    rows = {tag: column(tag) for tag in titles}
    columns = [column(f"disentanglement/{name}") for name in names]
    pairs = [[_spearman(row, scores) for scores in columns] for row in rows.values()]
    return Selection(
        numbers=tuple(titles.values()),
        scores=tuple(names),
        correlation=np.array([[value for value, _ in row] for row in pairs]),
        runs=np.array([[count for _, count in row] for row in pairs]),
        selected=tuple(_ends([label for label, _ in runs], row) for row in rows.values()),
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    """Return the rank correlation of two columns over rows where both are finite, and the number of rows."""
    both = np.isfinite(a) & np.isfinite(b)
    count = int(both.sum())
    if count < _FEWEST:
        return math.nan, count
    ranks = average_ranks(torch.from_numpy(np.stack([a[both], b[both]], 1))).numpy()
    if (ranks == ranks[0]).all(0).any():
        return math.nan, count
    return float(np.corrcoef(ranks.T)[0, 1]), count


def _ends(labels: Sequence[str], values: np.ndarray) -> tuple[str, str]:
    """Return the labels of the lowest and the highest finite value."""
    if not np.isfinite(values).any():
        return "", ""
    return labels[int(np.nanargmin(values))], labels[int(np.nanargmax(values))]


def _udr(groups: Sequence[Group]) -> dict[int, float]:
    """Return UDR of the runs by identity, where a configuration has several seeds with saved codes."""
    found: dict[int, float] = {}
    for group in groups:
        saved = [run for run in group.runs if run.codes is not None]
        codes = [_codes(run) for run in saved]
        if len(saved) > 1 and len({len(array) for array in codes}) == 1:
            scores = udr(codes).scores.tolist()
            found |= {id(run): score for run, score in zip(saved, scores, strict=True)}
    return found


def _codes(run: Run) -> np.ndarray:
    return np.asarray(run.arrays()["mean"][:_UDR_ROWS])


def _cell(value: float, count: int) -> Cell:
    return Cell("" if math.isnan(value) else f"{value:+.2f}", about=f"{count} runs")
