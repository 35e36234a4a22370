"""Runs that differ in their seed alone, together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmdprior.comparison.differences import brief, differences, fingerprint
from mmdprior.comparison.quantities import Spread, spread
from mmdprior.naming import short_names
from mmdprior.runs.read import Run

__all__ = ["Group", "group_runs"]

_NAMED = 3


@dataclass(frozen=True)
class Group:
    """Runs of one config and several seeds.

    Attributes:
        label: short and its own.
        runs: by seed.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the first run."""
        return self.runs[0].config

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """Tags of the final numbers that any run has."""
        return tuple(dict.fromkeys(tag for run in self.runs for tag in run.scalars))

    def value(self, tag: str) -> Spread:
        """Return a final number over the seeds."""
        return spread(self.numbers(tag))

    def numbers(self, tag: str) -> list[float]:
        """Return a final number of every seed that has a finite one."""
        values = (run.scalars.get(tag, math.nan) for run in self.runs)
        return [value for value in values if math.isfinite(value)]


def group_runs(runs: Sequence[Run]) -> tuple[Group, ...]:
    """Return the groups in the order of their first runs, with labels that tell them apart."""
    members: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        members.setdefault((run.name, fingerprint(run.config)), []).append(run)
    names = short_names(list(dict.fromkeys(name for name, _ in members)))
    labels = [names[name] for name, _ in members]
    for label in {label for label in labels if labels.count(label) > 1}:
        rows = [i for i, own in enumerate(labels) if own == label]
        parts = _telling([list(members.values())[i][0].config for i in rows])
        for row, part in zip(rows, parts, strict=True):
            labels[row] = f"{label} {part}"
    return tuple(
        Group(label, tuple(sorted(own, key=lambda run: (run.seed, str(run.directory)))))
        for label, own in zip(labels, members.values(), strict=True)
    )


def _telling(configs: list[Mapping[str, Any]]) -> list[str]:
    """Return a part of each config that no other has: up to three settings, else a number."""
    keys = list(differences(configs).items())[:_NAMED]
    parts = [
        " ".join(f"{key.rpartition('.')[2]}={brief(v[i])[:24]}" for key, v in keys)
        for i in range(len(configs))
    ]
    if len(set(parts)) == len(parts):
        return parts
    return [f"{part} #{number}".strip() for number, part in enumerate(parts, 1)]
