"""A set of finished runs side by side, from what they saved."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmdprior.comparison.differences import brief, differences
from mmdprior.comparison.groups import Group, group_runs
from mmdprior.comparison.quantities import COST, MATCH, RECONSTRUCTION, Quantity, companions_in, lps_in
from mmdprior.comparison.table import Cell, Table
from mmdprior.comparison.verdict import headlines, verdicts
from mmdprior.errors import InputError
from mmdprior.runs.read import Run, find_runs, read_run

__all__ = ["Comparison", "read_runs"]

_TITLED = 5
_LONG = 60


@dataclass(frozen=True)
class Comparison:
    """Runs grouped by config, seeds together.

    Attributes:
        groups: in the order in which their runs were named.
        errors: one line for each run that could not be read, by directory.
    """

    groups: tuple[Group, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the final numbers that any run has."""
        return tuple(dict.fromkeys(tag for group in self.groups for tag in group.tags))

    @property
    def title(self) -> str:
        """What is compared, in a few words."""
        if len(self.groups) == 1:
            return self.groups[0].label
        labels = [group.label for group in self.groups]
        return " · ".join(labels) if len(labels) <= _TITLED else f"{len(labels)} configurations"

    @property
    def subtitle(self) -> str:
        """Data, dimensions and numbers of runs."""
        data = {str(g.config.get("data", {}).get("name")) for g in self.groups}
        dims = {str(g.config.get("model", {}).get("latent_dim")) for g in self.groups}
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        many = "1 configuration" if len(self.groups) == 1 else f"{len(self.groups)} configurations"
        lacking = sum(bool(run.missing) for run in self.runs)
        told = f"; {lacking} lack a part of their report, whose cells are empty" if lacking else ""
        told += "; data differ, so errors do not compare" if len(data) > 1 else ""
        return f"{runs} of {many}; data {', '.join(sorted(data))}; d = {', '.join(sorted(dims))}{told}"

    def differences(self) -> Table:
        """Return the settings that differ, a row a setting; those of the machine alone are left out."""
        found = differences([group.config for group in self.groups])
        rows = [[Cell(key), *(_setting(value) for value in values)] for key, values in found.items()]
        return Table([Cell("setting"), *(Cell(group.label) for group in self.groups)], rows)

    def table(self, quantities: Sequence[Quantity]) -> Table:
        """Return the numbers of every group, the best in its column marked."""
        shown = [q for q in quantities if any(group.value(q.tag).n for group in self.groups)]
        best = {q.tag: self._best(q) for q in shown}
        rows = []
        for group in self.groups:
            cells = [Cell(group.label)]
            for q in shown:
                value = group.value(q.tag)
                mark = "best" if value.n and value.mean == best[q.tag] else ""
                cells.append(Cell(value.text(q.format), mark=mark))
            rows.append(cells)
        return Table([Cell("run"), *(Cell(q.title, about=q.about) for q in shown)], rows)

    def tables(self) -> dict[str, Table]:
        """Return every table of numbers by title."""
        found = {
            "Reconstruction": self.table(RECONSTRUCTION),
            "LPS": self.table(lps_in(self.tags)),
            "Match to the prior": self.table(MATCH),
            "Companions of LPS": self.table(companions_in(self.tags)),
            "Cost": self.table(COST),
        }
        return {title: table for title, table in found.items() if len(table.columns) > 1}

    def lps_table(self) -> Table:
        """Return every LPS with what it takes to judge it, a row a group and a score."""
        rows = []
        for group in self.groups:
            for score in lps_in(group.tags):
                value = {part: group.value(f"{score.tag}{part}") for part in ("", "_max", "_null")}
                ends = [group.numbers(f"{score.tag}_{end}") for end in ("low", "high")]
                p = group.numbers(f"{score.tag}_p")
                span = f"{min(ends[0]):.4f} to {max(ends[1]):.4f}" if all(ends) else ""
                cells = [value[part].text(".4f") for part in value]
                texts = [group.label, score.title, *cells, span, f"{max(p):.3g}" if p else ""]
                rows.append([Cell(text) for text in texts])
        heads = ["run", "score", "LPS", "highest R2", "chance", "95 % interval of mean R2", "p"]
        note = (
            "Over seeds: means ± standard deviation, the widest interval, the largest p-value. The "
            "interval is of the mean R2 freed of estimation error."
        )
        return Table([Cell(head) for head in heads], rows, note)

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and lists, ready for JSON: every number of every run, and over seeds."""
        return {
            "groups": [_group_dict(group) for group in self.groups],
            "headlines": dict(headlines(self.groups)),
            "errors": dict(self.errors),
        }

    def to_json(self) -> str:
        """Return the comparison as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Return the verdicts, then every number, for a terminal."""
        lines = [f"{question}: {answer}" for question, answer in headlines(self.groups)]
        lines += ["", str(verdicts(self.groups))]
        for title, table in self.tables().items():
            lines += ["", title, str(table)]
        return "\n".join([*lines, *(f"error: {line}" for line in self.errors.values())])

    def _repr_html_(self) -> str:
        from mmdprior.comparison.page import fragment

        return fragment(self)

    def write(
        self, folder: str | Path, *, command: str = "", versions: Mapping[str, str] | None = None
    ) -> Path:
        """Write ``index.html``, ``comparison.md``, ``comparison.json`` and ``figures/``; return the page.

        Args:
            folder: made where it is not there.
            command: that made the comparison, for the foot of the page.
            versions: of packages, likewise.

        Raises:
            InputError: a folder that cannot be written.
        """
        from mmdprior.comparison.page import write_page

        return write_page(self, Path(folder), command, versions or {})

    def write_tensorboard(self, folder: str | Path) -> Path:
        """Write runs for TensorBoard with what no single run has; see `reporting.tensorboard`."""
        from mmdprior.comparison.tensorboard import write_tensorboard

        return write_tensorboard(self, Path(folder))

    def _best(self, quantity: Quantity) -> float:
        values = [v.mean for v in (g.value(quantity.tag) for g in self.groups) if v.n]
        if quantity.better is None or len(values) < 2 or min(values) == max(values):
            return math.nan
        return max(values) if quantity.better == "high" else min(values)


def read_runs(paths: Sequence[str | Path]) -> Comparison:
    """Read finished runs, and put those together that differ in their seed alone.

    Args:
        paths: run directories, or folders that hold some at any depth.

    Raises:
        InputError: a path without a run, or none that can be read.
    """
    runs, errors = [], {}
    for directory in find_runs(paths):
        try:
            runs.append(read_run(directory))
        except InputError as error:
            errors[str(directory)] = str(error)
    if not runs:
        raise InputError(f"runs: none can be read; {next(iter(errors.values()))}")
    return Comparison(group_runs(runs), errors)


def _group_dict(group: Group) -> dict[str, object]:
    numbers = {}
    for tag in group.tags:
        value = group.value(tag)
        numbers[tag] = {
            "mean": _plain(value.mean),
            "sd": _plain(value.sd),
            "by_run": [_plain(run.scalars.get(tag, math.nan)) for run in group.runs],
        }
    return {
        "label": group.label,
        "seeds": list(group.seeds),
        "runs": [str(run.directory) for run in group.runs],
        "missing": {str(run.directory): list(run.missing) for run in group.runs if run.missing},
        "numbers": numbers,
        "config": group.config,
    }


def _setting(value: object) -> Cell:
    text = brief(value)
    return Cell(text) if len(text) <= _LONG else Cell(f"{text[:_LONG]}…", about=text)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
