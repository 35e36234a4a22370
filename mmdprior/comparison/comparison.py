"""Finished runs next to each other, read from what they saved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from mmdprior.comparison.differences import differences, setting_text
from mmdprior.comparison.groups import Group, group_runs, separated_best
from mmdprior.comparison.quantities import (
    COST,
    MATCH,
    RECONSTRUCTION,
    Quantity,
    dependence_in,
    lps_in,
    semantics_in,
)
from mmdprior.comparison.supervised import supervised_table
from mmdprior.comparison.table import MOST_COLUMNS, Cell, Table
from mmdprior.comparison.verdict import headlines, verdict_table
from mmdprior.deprecation import moved_method
from mmdprior.errors import InputError
from mmdprior.results import Result, finite_or_none
from mmdprior.runs.read import Run, find_runs, read_run
from mmdprior.runs.rows import read_rows

__all__ = ["Comparison", "read_runs"]

_LABELS_IN_TITLE = 5


@dataclass(frozen=True)
class Comparison(Result):
    """Finished runs, grouped by configuration.

    ``print(comparison)`` shows the verdicts and all scores, a notebook shows the verdicts, and `to_json`
    returns every score of every run. `mmdprior.comparison.write_page` and `write_tensorboard` write files.

    Attributes:
        groups: one per configuration with its seeds, in the order in which the runs were named.
        errors: one line per run that could not be read, by run directory.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.comparison import Comparison
        >>> from mmdprior.comparison.groups import group_runs
        >>> from mmdprior.runs import Run
        >>> psnr = {0: 20.0, 1: 21.0}
        >>> runs = [
        ...     Run(Path("runs"), {"name": "vae", "seed": seed}, scalars={"reconstruction/psnr": psnr[seed]})
        ...     for seed in psnr
        ... ]
        >>> print(Comparison(group_runs(runs)).tables()["Reconstruction"])
        configuration     PSNR (dB)
        vae            20.50 ± 0.71
    """

    groups: tuple[Group, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    write = moved_method("Comparison.write", "mmdprior.comparison:write_page")
    write_tensorboard = moved_method("Comparison.write_tensorboard", "mmdprior.comparison:write_tensorboard")

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, group by group."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the final scores that at least one run has."""
        return tuple(dict.fromkeys(tag for group in self.groups for tag in group.tags))

    @property
    def title(self) -> str:
        """Labels of the groups, or their number if there are many."""
        if len(self.groups) == 1:
            return self.groups[0].label
        labels = [group.label for group in self.groups]
        if len(labels) > _LABELS_IN_TITLE:
            return f"{len(labels)} configurations"
        return " · ".join(labels)

    @property
    def subtitle(self) -> str:
        """Number of runs, data sets and latent dimensions, and what makes scores incomparable."""
        data = {str(g.config.get("data", {}).get("name")) for g in self.groups}
        dims = {str(g.config.get("model", {}).get("latent_dim")) for g in self.groups}
        parts = [
            f"{_count(len(self.runs), 'run')} of {_count(len(self.groups), 'configuration')}",
            f"data: {', '.join(sorted(data))}",
            f"latent dimensions: {', '.join(sorted(dims))}",
        ]
        incomplete = sum(bool(run.missing) for run in self.runs)
        if incomplete:
            parts.append(f"incomplete reports: {_count(incomplete, 'run')}, whose cells are empty")
        if len(data) > 1:
            parts.append("the data sets differ, so reconstruction errors are not comparable")
        return "; ".join(parts)

    def differences(self) -> Table:
        """Return a table of the settings that differ: a row per setting, or per group if there are many.

        Settings of the machine, such as the device, are left out.
        """
        settings = differences([group.config for group in self.groups])
        labels = [group.label for group in self.groups]
        texts = {path: [setting_text(value) for value in values] for path, values in settings.items()}
        if len(self.groups) <= MOST_COLUMNS:
            rows = [[Cell(path), *map(Cell, values)] for path, values in texts.items()]
            return Table([Cell("setting"), *map(Cell, labels)], rows)
        rows = [list(map(Cell, row)) for row in zip(labels, *texts.values(), strict=True)]
        return Table([Cell("configuration"), *map(Cell, texts)], rows)

    def table(self, quantities: Sequence[Quantity]) -> Table:
        """Return a table of scores over seeds, one row per group.

        The best of a column is marked where seeds or intervals separate it from all others.

        Args:
            quantities: the columns; those that no run has are left out.
        """
        columns = [q for q in quantities if any(group.value(q.tag).n for group in self.groups)]
        best = {q.tag: separated_best(self.groups, q.tag, q.better) for q in columns}
        rows = []
        for group in self.groups:
            cells = [Cell(group.label)]
            for q in columns:
                value = group.value(q.tag)
                mark = "best" if group is best[q.tag] else ""
                cells.append(Cell(value.text(q.format), mark=mark))
            rows.append(cells)
        heads = [Cell("configuration"), *(Cell(q.title, about=q.about) for q in columns)]
        return Table(heads, rows, _explanation(columns))

    def tables(self) -> dict[str, Table]:
        """Return all tables of scores by title."""
        tables = {
            "Reconstruction": self.table(RECONSTRUCTION),
            "LPS": self.table(lps_in(self.tags)),
            "Match to the prior": self.table(MATCH),
            "Other measures of dependence": self.table(dependence_in(self.tags)),
            "Labels on their dimensions": self.table(semantics_in(self.tags)),
            "Cost": self.table(COST),
        }
        supervised = supervised_table(self.groups)
        if supervised is not None:
            tables["Supervised disentanglement scores"] = supervised
        return {title: table for title, table in tables.items() if len(table.columns) > 1}

    def lps_table(self) -> Table:
        """Return a table of every LPS with its interval, p-value and chance level."""
        rows = []
        for group in self.groups:
            for score in lps_in(group.tags):
                value = {part: group.value(f"{score.tag}{part}") for part in ("", "_max", "_null")}
                ends = [group.numbers(f"{score.tag}_{end}") for end in ("low", "high")]
                p = group.numbers(f"{score.tag}_p")
                interval = f"{min(ends[0]):.4f} to {max(ends[1]):.4f}" if all(ends) else ""
                cells = [value[part].text(".4f") for part in value]
                texts = [group.label, score.title, *cells, interval, f"{max(p):.3g}" if p else ""]
                rows.append([Cell(text) for text in texts])
        heads = ["configuration", "score", "LPS", "highest R2", "shuffled codes", "95% interval", "p-value"]
        caption = (
            "LPS: mean over active dimensions of max(0, R2). Highest R2: that of the most predictable "
            "dimension. Shuffled codes: LPS after the columns are shuffled, which makes them independent. "
            "Interval: of the mean R2 after correction for estimation error. p-value: of the hypothesis that "
            "no dimension can be predicted. Over seeds: mean ± standard deviation, the widest interval and "
            "the largest p-value."
        )
        return Table([Cell(head) for head in heads], rows, caption)

    def to_dict(self) -> dict[str, Any]:
        """Return all scores of all runs, and their mean and standard deviation over seeds."""
        return {
            "groups": [_group_to_dict(group) for group in self.groups],
            "headlines": {line.key: line.text for line in headlines(self.groups)},
            "errors": dict(self.errors),
        }

    def __str__(self) -> str:
        """Return the verdicts and all tables of scores, for a terminal."""
        lines = [f"{line.title}: {line.text}" for line in headlines(self.groups)]
        lines += ["", str(verdict_table(self.groups))]
        for title, table in self.tables().items():
            lines += ["", title, str(table)]
        return "\n".join([*lines, *(f"error: {line}" for line in self.errors.values())])

    def _repr_html_(self) -> str:
        answers = "".join(
            f"<dt>{escape(line.title)}</dt><dd>{escape(line.text)}</dd>" for line in headlines(self.groups)
        )
        table = verdict_table(self.groups).html("verdict")
        return f'<div><dl class="answers">{answers}</dl>{table}</div>'


def read_runs(paths: Sequence[str | Path]) -> Comparison:
    """Read finished runs, and group those that differ only in their seed.

    Only saved reports are read; no model is loaded.

    Args:
        paths: run directories, folders that contain run directories at any depth, or files of rows
            (``.jsonl``; see `mmdprior.runs.rows`).

    Raises:
        InputError: a path contains no run, or no run can be read.

    Example:
        >>> from mmdprior.comparison import read_runs
        >>> read_runs(["missing"])
        Traceback (most recent call last):
        mmdprior.errors.InputError: runs: missing is not a folder; give run directories, or folders of runs
    """
    runs, errors = [], {}
    files = [path for path in paths if Path(path).suffix == ".jsonl"]
    for path in files:
        if not Path(path).is_file():
            raise InputError(f"runs: {path}: no such file; give a file of rows")
        runs += read_rows(path)
    directories = [path for path in paths if path not in files]
    for directory in find_runs(directories) if directories or not files else []:
        try:
            runs.append(read_run(directory))
        except InputError as error:
            errors[str(directory)] = str(error)
    if not runs:
        raise InputError(f"runs: none can be read; {next(iter(errors.values()), 'no rows')}")
    return Comparison(group_runs(runs), errors)


def _group_to_dict(group: Group) -> dict[str, Any]:
    numbers = {}
    for tag in group.tags:
        value = group.value(tag)
        numbers[tag] = {
            "mean": finite_or_none(value.mean),
            "sd": finite_or_none(value.sd),
            "by_run": [finite_or_none(run.scalars.get(tag, math.nan)) for run in group.runs],
        }
    return {
        "label": group.label,
        "seeds": list(group.seeds),
        "runs": [str(run.directory) for run in group.runs],
        "missing": {str(run.directory): list(run.missing) for run in group.runs if run.missing},
        "numbers": numbers,
        "config": group.config,
    }


def _explanation(quantities: Sequence[Quantity]) -> str:
    """Return one sentence per kind of column; scores of mean and of sampled codes share theirs."""
    titles: dict[str, dict[str, None]] = {}
    for q in quantities:
        title = q.title.removesuffix(", means").removesuffix(", samples")
        titles.setdefault(q.about, {})[title] = None
    sentences = (f"{', '.join(names)}: {about}." for about, names in titles.items())
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
