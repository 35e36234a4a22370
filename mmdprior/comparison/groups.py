"""Groups of runs: the seeds of one configuration."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mmdprior.comparison.differences import differences, fingerprint, setting_text
from mmdprior.comparison.quantities import SeedStatistics, seed_statistics
from mmdprior.errors import InputWarning
from mmdprior.naming import short_names
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.read import Run

__all__ = ["Group", "group_runs", "separated_best"]

_SETTINGS_IN_LABEL = 3
_LETTERS_PER_SETTING = 24


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, which differ only in their seeds.

    Attributes:
        label: short name, unique among the groups of a comparison.
        runs: the runs, by seed.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """Resolved config of the first run."""
        return self.runs[0].config

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each run."""
        return tuple(run.seed for run in self.runs)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """Tags of the final scores that at least one run has."""
        return tuple(dict.fromkeys(tag for run in self.runs for tag in run.scalars))

    def value(self, tag: str) -> SeedStatistics:
        """Return mean and standard deviation of a final score over the seeds."""
        return seed_statistics(self.numbers(tag))

    def spread(self, tag: str) -> tuple[float, float]:
        """Return the lowest and highest final score over seeds; of one seed its interval, or NaN."""
        numbers = self.numbers(tag)
        if len(numbers) == 1:
            ends = [*self.numbers(f"{tag}_low"), *self.numbers(f"{tag}_high")]
            numbers = [*numbers, *ends] if len(ends) == 2 else []
        return (min(numbers), max(numbers)) if numbers else (math.nan, math.nan)

    def numbers(self, tag: str) -> list[float]:
        """Return a final score of each run in which it is finite."""
        values = (run.scalars.get(tag, math.nan) for run in self.runs)
        return [value for value in values if math.isfinite(value)]


def group_runs(runs: Sequence[Run]) -> tuple[Group, ...]:
    """Return the runs grouped by configuration, in the order of the first run of each group.

    Groups with the same name get labels that include the settings in which they differ. Of several runs of
    one configuration and seed, such as a copy or a repetition, the newest complete one is used, with an
    `InputWarning`.
    """
    members: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        members.setdefault((run.name, fingerprint(run.config)), []).append(run)
    members = {key: _one_per_seed(group) for key, group in members.items()}
    names = short_names(list(dict.fromkeys(name for name, _ in members)))
    labels = [names[name] for name, _ in members]
    for label in {label for label in labels if labels.count(label) > 1}:
        indices = [i for i, other in enumerate(labels) if other == label]
        suffixes = _distinguishing([list(members.values())[i][0].config for i in indices])
        for i, suffix in zip(indices, suffixes, strict=True):
            labels[i] = f"{label} {suffix}"
    return tuple(
        Group(label, tuple(sorted(group, key=lambda run: (run.seed, str(run.directory)))))
        for label, group in zip(labels, members.values(), strict=True)
    )


def _one_per_seed(runs: Sequence[Run]) -> list[Run]:
    """Return the newest complete run of each seed, or the newest one if none is complete."""
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    for seed, several in by_seed.items():
        several.sort(key=lambda run: (bool(run.test), _age(run)))
        if len(several) > 1:
            text = (
                f"runs: {several[-1].name}, seed {seed}: {len(several)} runs; {several[-1].directory} is used"
            )
            warnings.warn(text, InputWarning, stacklevel=3)
    return [several[-1] for several in by_seed.values()]


def _age(run: Run) -> float:
    """Return when the scores of a run were written, in seconds since 1970; 0 for a row and without scores."""
    scores = RunDirectory(run.directory).scores
    return scores.stat().st_mtime if scores.is_file() else 0.0


def separated_best(groups: Sequence[Group], tag: str, better: Literal["low", "high"] | None) -> Group | None:
    """Return the group with the best mean, if seeds or intervals separate it from all others.

    Args:
        groups: groups of runs; those without the score do not count.
        tag: final score.
        better: which values are better; None if neither is.

    Returns:
        The group. None if its values over seeds, or the interval of its only seed, overlap with those of
        another group, and if a group has one seed and no interval.
    """
    scored = [group for group in groups if group.value(tag).n]
    if better is None or len(scored) < 2:
        return None
    sign = 1.0 if better == "high" else -1.0
    first, *others = sorted(scored, key=lambda group: -sign * group.value(tag).mean)
    worst = min(sign * end for end in first.spread(tag))
    ends = [sign * end for other in others for end in other.spread(tag)]
    return first if all(worst > end for end in ends) else None  # False for NaN


def _distinguishing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a unique suffix per config: up to three differing settings, with a number if they are equal."""
    settings = list(differences(configs).items())[:_SETTINGS_IN_LABEL]
    suffixes = [
        " ".join(
            f"{path.rpartition('.')[2]}={setting_text(values[i])[:_LETTERS_PER_SETTING]}"
            for path, values in settings
        )
        for i in range(len(configs))
    ]
    if len(set(suffixes)) == len(suffixes):
        return suffixes
    return [f"{suffix} #{number}".strip() for number, suffix in enumerate(suffixes, 1)]
