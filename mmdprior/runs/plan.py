"""Plans: many runs in one YAML file, as a study (named runs) or a sweep (a grid or a list of settings).

A study names its runs. Each may have its own config, overrides and seeds::

    name: cifar10_d32
    seeds: [0, 1, 2]
    overrides: {trainer.steps: 4000}
    runs:
      ae: ../cifar10/ae.yaml
      vae_4: {config: ../cifar10/vae.yaml, overrides: {regularizer.weight: 4.0}, seeds: [0]}

A sweep combines every entry of ``list`` with every combination of ``grid``. Either may be absent::

    name: weights
    seeds: [0, 1]
    grid:
      config: [sprites/vae.yaml, sprites/mmd_gaussian.yaml]
      regularizer.weight: [1, 10, 100]

Keys of ``overrides``, ``grid`` and ``list`` are those of the command line, ``key.sub``. ``config`` may be a
key of ``grid`` and ``list``. Overrides apply in this order: plan, run, command line.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmdprior.config.base import find_config
from mmdprior.config.load import check_keys, load_config, parse_value, read_mapping
from mmdprior.config.schema import Config, Section
from mmdprior.config.validation import validate
from mmdprior.errors import InputError, shorten
from mmdprior.runs.directory import COMPARISON

__all__ = ["Plan", "PlanKind", "PlanSection", "PlannedRun", "RunSection", "is_plan", "read_plan"]

PlanKind = Literal["study", "sweep"]

_NAME = r"^\w[\w.+-]*(/\w[\w.+-]*)*$"
_LONGEST_LABEL = 60


class RunSection(Section):
    """One run of a study. At the top level of a plan, the defaults of all runs."""

    config: str | None = Field(
        None,
        description="YAML config, relative to the plan or to the working directory, or a shipped one.",
    )
    overrides: dict[str, Any] = Field({}, description="Values by key.sub, as on the command line.")
    seeds: list[int] | None = Field(None, min_length=1, description="One run per seed; [0] by default.")


class PlanSection(RunSection):
    """A whole plan."""

    name: str = Field(pattern=_NAME, description="Name of the plan and of the folder of its runs.")
    runs: dict[str, Any] | None = Field(None, min_length=1, description="Runs of a study, by name.")
    grid: dict[str, Any] | None = Field(
        None, min_length=1, description="Lists of values of a sweep, by key; every combination is run."
    )
    points: list[dict[str, Any]] | None = Field(
        None, alias="list", min_length=1, description="Overrides of each point of a sweep."
    )


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        plan: name of the plan.
        name: name of the run, the same for all its seeds.
        seed: seed of the run.
        config: path of the YAML config.
        overrides: ``key.sub=value`` texts, in the order in which they apply.
    """

    plan: str
    name: str
    seed: int
    config: Path
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """Folder of the run within the plan's folder, ``name/seed_0``."""
        return f"{self.name}/seed_{self.seed}"

    def directory(self, runs: str | Path) -> Path:
        """Return the run directory.

        Args:
            runs: folder that contains the plan's folder.
        """
        return Path(runs) / self.plan / self.label

    def log(self, runs: str | Path) -> Path:
        """Return the file with the output of the run, next to its directory."""
        directory = self.directory(runs)
        return directory.with_name(f"{directory.name}.log")

    def settings(self) -> list[str]:
        """Return the config and all overrides, as arguments of ``mmdprior train``."""
        identity = (f"name={self.plan}/{self.name}", f"seed={self.seed}")
        return [str(self.config), *self.overrides, *identity]

    def load(self) -> Config:
        """Return the checked config of the run."""
        source, *overrides = self.settings()
        return load_config(source, overrides)


@dataclass(frozen=True)
class Plan:
    """The runs of a plan.

    Attributes:
        name: name of the plan.
        runs: all runs; the first seed of every run comes before the second seed of any.
    """

    name: str
    runs: tuple[PlannedRun, ...]

    def comparison(self, runs: str | Path) -> Path:
        """Return the folder of the comparison page.

        Args:
            runs: folder that contains the plan's folder.
        """
        return Path(runs) / self.name / COMPARISON


def is_plan(raw: object) -> bool:
    """Return whether the content of a YAML file is a plan; the config of a single run is not."""
    return isinstance(raw, Mapping) and bool({"runs", "grid", "list"} & raw.keys())


def read_plan(path: str | Path, overrides: Sequence[str] = (), kind: PlanKind | None = None) -> Plan:
    """Read a plan and check the config of every run.

    Args:
        path: YAML file, or the name of a shipped plan.
        overrides: ``key.sub=value`` texts for all runs.
        kind: the kind that the plan must have; None accepts both.

    Raises:
        InputError: one line with the file, the run and what is wrong.
    """
    path = find_config(path)
    raw = read_mapping(path)
    for override in overrides:
        _check_overridable(override.partition("=")[0].strip(), "overrides")
    try:
        check_keys(raw)
        content = validate(PlanSection, raw, "")
        _check_kind(content, kind)
        folder = Path(path).parent
        by_point = [_planned_runs(content, point, overrides, folder) for point in _points(content)]
    except RecursionError:
        raise InputError(f"{path}: nested too deeply, or an anchor that contains itself") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    by_seed = itertools.chain.from_iterable(itertools.zip_longest(*by_point))
    plan = Plan(content.name, tuple(run for run in by_seed if run is not None))
    for run in plan.runs:
        try:
            run.load()
        except InputError as error:
            raise InputError(f"{path}: {run.label}: {error}") from None
    return plan


def _check_kind(content: PlanSection, kind: PlanKind | None) -> None:
    is_sweep = content.grid is not None or content.points is not None
    if content.runs is None and not is_sweep:
        raise InputError(
            "runs, grid, list: missing; give the runs of a study, or the grid or list of a sweep"
        )
    if content.runs is not None and is_sweep:
        raise InputError("runs: cannot be combined with grid or list; make two plans")
    actual: PlanKind = "sweep" if is_sweep else "study"
    if kind is not None and kind != actual:
        raise InputError(f"plan: a {actual} received; expected a {kind}; use mmdprior {actual}")


@dataclass(frozen=True)
class _Point:
    """A run of a plan, before its seeds and the defaults of the plan.

    Attributes:
        name: name of the run.
        where: key path in the file, for errors.
        config: YAML config; None for that of the plan.
        overrides: values by ``key.sub``.
        seeds: None for those of the plan.
    """

    name: str
    where: str
    config: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] | None = None


def _points(content: PlanSection) -> Iterator[_Point]:
    """Yield the runs of a plan, in the order of the file."""
    if content.runs is None:
        yield from _sweep_points(content.grid or {}, content.points or [{}])
        return
    for name, value in content.runs.items():
        where = f"runs.{name}"
        mapping = {"config": value} if isinstance(value, str) else value
        if not isinstance(mapping, Mapping):
            raise InputError(f"{where}: {shorten(repr(value))} received; give a config file or a mapping")
        run = validate(RunSection, mapping, where)
        yield _Point(name, where, run.config, run.overrides, run.seeds)


def _sweep_points(grid: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Iterator[_Point]:
    """Yield every entry of the list with every combination of the grid, whose last key changes fastest."""
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"grid.{key}: {shorten(repr(values))} received; give a list of values")
    axes = [
        [({key: value}, label) for value, label in zip(values, _labels(key, values), strict=True)]
        for key, values in grid.items()
    ]
    names: set[str] = set()
    for index, entry in enumerate(entries):
        settings = {key: value for key, value in entry.items() if key != "name"}
        prefix = (
            str(entry["name"]) if "name" in entry else "_".join(_label(*item) for item in settings.items())
        )
        for combination in itertools.product(*axes):
            name = "_".join([*([prefix] if prefix else []), *(label for _, label in combination)])
            where = f"list.{index}" if entry else f"grid ({name})"
            if name in names:
                raise InputError(f"{where}: a second point is named {name}; give entries of list a name")
            names.add(name)
            overrides = {**settings, **{key: value for part, _ in combination for key, value in part.items()}}
            config = overrides.pop("config", None)
            if config is not None and not isinstance(config, str):
                raise InputError(f"{where}: config {shorten(repr(config))} received; give a YAML file")
            yield _Point(name, where, config, overrides)


def _labels(key: str, values: Sequence[Any]) -> list[str]:
    """Return a label per value of a key; equal labels are numbered."""
    labels = [_label(key, value) for value in values]
    return [
        label if labels.count(label) == 1 else f"{label}_{index + 1}" for index, label in enumerate(labels)
    ]


def _label(key: str, value: Any) -> str:
    """Return a label for a setting: ``weight_10``, or the name of a config or slot."""
    last = key.rpartition(".")[2]
    if last == "config":
        text = Path(str(value)).stem
    elif isinstance(value, Mapping) and ("name" in value or "target" in value):
        text = str(value.get("name") or str(value["target"]).rpartition(":")[2])
    else:
        text = str(value) if last == "name" else f"{last}_{value}"
    return re.sub(r"[^a-zA-Z0-9.+-]+", "_", text).strip("_.+-")[:_LONGEST_LABEL]


def _planned_runs(
    content: PlanSection, point: _Point, overrides: Sequence[str], folder: Path
) -> list[PlannedRun]:
    """Return one run per seed of a point."""
    if not re.fullmatch(_NAME, point.name) or point.name == COMPARISON:
        raise InputError(
            f"{point.where}: {point.name!r} received; give a name of letters and digits, not {COMPARISON!r}"
        )
    config = point.config if point.config is not None else content.config
    if config is None:
        raise InputError(f"{point.where}: config is missing; give a YAML file here or at the top level")
    seeds = point.seeds or content.seeds or [0]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {seeds} received; give each seed once")
    try:
        file = find_config(config, folder)
    except InputError:  # reported with the name of the run, once all runs are known
        file = Path(config)
    texts = (
        *_override_texts(content.overrides, "overrides"),
        *_override_texts(point.overrides, point.where),
        *overrides,
    )
    return [PlannedRun(content.name, point.name, seed, _normalised(file), texts) for seed in seeds]


def _override_texts(overrides: Mapping[str, Any], where: str) -> list[str]:
    """Return overrides as ``key.sub=value`` texts of the command line."""
    texts = []
    for key, value in overrides.items():
        _check_overridable(key, where)
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError):
            raise InputError(f"{where}: {key} {shorten(repr(value))} received; give plain values") from None
        is_plain_word = (
            isinstance(value, str) and re.fullmatch(r"[\w./+-]+", value) and parse_value(value, key) == value
        )
        texts.append(f"{key}={value if is_plain_word else text}")
    return texts


def _check_overridable(key: str, where: str) -> None:
    """Raise `InputError` for the keys that a plan sets per run."""
    if key in ("name", "seed"):
        remedy = "give seeds" if key == "seed" else "the name of the run replaces it"
        raise InputError(f"{where}: {key} cannot be overridden in a plan; {remedy}")


def _normalised(path: Path) -> Path:
    """Return a path without ``folder/..``, unless the folder is a symbolic link."""
    short = Path(os.path.normpath(path))
    return short if short.is_file() and path.is_file() and short.samefile(path) else path
