"""Plans: many runs named in one YAML file, as a study (named runs) or a sweep (a grid or a list of points).

A study names its runs; each may have a config, overrides and seeds of its own::

    name: cifar10_d32
    seeds: [0, 1, 2]
    overrides: {trainer.steps: 4000}
    runs:
      ae: ../cifar10/ae.yaml
      vae_4: {config: ../cifar10/vae.yaml, overrides: {regularizer.weight: 4.0}, seeds: [0]}

A sweep makes them: every entry of ``list`` with every combination of ``grid`` (either may be absent)::

    name: weights
    seeds: [0, 1]
    grid:
      config: [sprites/vae.yaml, sprites/mmd_gaussian.yaml]
      regularizer.weight: [1, 10, 100]

Keys under ``overrides``, ``grid`` and ``list`` are those that the command line takes as ``key.sub=value``;
``config`` may stand in a grid or a list. The plan's overrides apply first, then a run's own, then those of
the command line.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmdprior.config.load import check_keys, load_config, parse_value, read_mapping
from mmdprior.config.schema import Config, Section, check_section
from mmdprior.errors import InputError, shorten

__all__ = [
    "Plan",
    "PlanKind",
    "PlannedRun",
    "Point",
    "grid_points",
    "is_plan",
    "override_texts",
    "read_plan",
    "refuse_own",
]

_NAME = r"^\w[\w.+-]*(/\w[\w.+-]*)*$"
_LONGEST = 60


@dataclass(frozen=True)
class Point:
    """A run of a plan before its seeds.

    Attributes:
        name: of the run.
        where: it stands in the file, for errors.
        config: YAML file; None for that of the plan.
        overrides: values by ``key.sub``.
        seeds: None for those of the plan.
    """

    name: str
    where: str
    config: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] | None = None

    def check(self) -> None:
        """Refuse what cannot be a folder.

        Raises:
            InputError: such a name.
        """
        if not re.fullmatch(_NAME, self.name) or self.name == "comparison":
            raise InputError(f"{self.where}: {self.name!r} is no name for a run; give letters and digits")


def grid_points(grid: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    """Yield the points of a sweep in the order of the file; the last key of the grid changes fastest.

    Args:
        grid: list of values by key.
        entries: overrides of each point before the grid's; ``name`` names the point.

    Raises:
        InputError: a key without a list, or two points of one name.
    """
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"grid.{key}: {shorten(repr(values))} received; give a list of values")
    axes = [
        [({key: value}, label) for value, label in zip(values, _labels(key, values), strict=True)]
        for key, values in grid.items()
    ]
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        own = {key: value for key, value in entry.items() if key != "name"}
        first = str(entry["name"]) if "name" in entry else "_".join(_label(k, v) for k, v in own.items())
        for chosen in itertools.product(*axes):
            name = "_".join([*([first] if first else []), *(label for _, label in chosen)])
            where = f"list.{place}" if entry else f"grid ({name})"
            if name in seen:
                raise InputError(f"{where}: a second point is called {name}; give entries of list a name")
            seen.add(name)
            overrides = {**own, **{key: value for part, _ in chosen for key, value in part.items()}}
            config = overrides.pop("config", None)
            if config is not None and not isinstance(config, str):
                raise InputError(f"{where}: config {shorten(repr(config))} received; give a YAML file")
            yield Point(name, where, config, overrides)


def refuse_own(key: str, where: str) -> None:
    """Raise `InputError` for a key that a plan sets for each of its runs."""
    if key in ("name", "seed"):
        remedy = "give seeds" if key == "seed" else "the run's own name takes its place"
        raise InputError(f"{where}: {key} cannot be overridden in a plan; {remedy}")


def override_texts(overrides: Mapping[str, Any], where: str) -> list[str]:
    """Return overrides as the command line takes them.

    Raises:
        InputError: a key that the plan sets itself, or a value that is no plain YAML.
    """
    texts = []
    for key, value in overrides.items():
        refuse_own(key, where)
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError):
            raise InputError(f"{where}: {key} {shorten(repr(value))} received; give plain values") from None
        bare = (
            isinstance(value, str) and re.fullmatch(r"[\w./+-]+", value) and parse_value(value, key) == value
        )
        texts.append(f"{key}={value if bare else text}")
    return texts


def _labels(key: str, values: Sequence[Any]) -> list[str]:
    """Return a name for every value of a key; values that would share one are numbered."""
    labels = [_label(key, value) for value in values]
    return [
        label if labels.count(label) == 1 else f"{label}_{place + 1}" for place, label in enumerate(labels)
    ]


def _label(key: str, value: Any) -> str:
    """Return a name for one setting: ``weight_10``, or what the value names by itself."""
    last = key.rpartition(".")[2]
    if last == "config":
        text = Path(str(value)).stem
    elif isinstance(value, Mapping) and ("name" in value or "target" in value):
        text = str(value.get("name") or str(value["target"]).rpartition(":")[2])
    else:
        text = str(value) if last == "name" else f"{last}_{value}"
    return re.sub(r"[^a-zA-Z0-9.+-]+", "_", text).strip("_.+-")[:_LONGEST]


PlanKind = Literal["study", "sweep"]


class _RunSection(Section):
    """One run of a study; at the top of a plan, what holds for every run that says nothing else."""

    config: str | None = Field(None, description="YAML file, beside the plan or from where we are.")
    overrides: dict[str, Any] = Field({}, description="key.sub: value, as on the command line.")
    seeds: list[int] | None = Field(None, min_length=1, description="One run each; [0] by default.")


class _PlanSection(_RunSection):
    """A whole plan."""

    name: str = Field(pattern=_NAME, description="Of the plan, and of the folder of its runs.")
    runs: dict[str, Any] | None = Field(None, min_length=1, description="Of a study, by name.")
    grid: dict[str, Any] | None = Field(None, min_length=1, description="Of a sweep: values by key.")
    points: list[dict[str, Any]] | None = Field(
        None, alias="list", min_length=1, description="Of a sweep: overrides of each point."
    )


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        plan: name of the plan.
        name: of the run, shared by its seeds.
        seed: of this one.
        config: YAML file.
        overrides: ``key.sub=value``, in the order in which they apply.
    """

    plan: str
    name: str
    seed: int
    config: Path
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """Its place below the plan's folder."""
        return f"{self.name}/seed_{self.seed}"

    def directory(self, root: str | Path) -> Path:
        """Return the run's directory, always the same below one root."""
        return Path(root) / self.plan / self.label

    def settings(self) -> list[str]:
        """Return the config and all overrides as ``train`` takes them."""
        own = (f"name={self.plan}/{self.name}", f"seed={self.seed}")
        return [str(self.config), *self.overrides, *own]

    def load(self) -> Config:
        """Return the checked config."""
        source, *overrides = self.settings()
        return load_config(source, overrides)


@dataclass(frozen=True)
class Plan:
    """The runs of a plan, the first seed of each before the second of any."""

    name: str
    runs: tuple[PlannedRun, ...]


def is_plan(raw: object) -> bool:
    """Log a plan from the config of one run, which has none of these keys."""
    return isinstance(raw, Mapping) and bool({"runs", "grid", "list"} & raw.keys())


def read_plan(path: str | Path, overrides: Sequence[str] = (), kind: PlanKind | None = None) -> Plan:
    """Read a plan and check the config of every run.

    Args:
        path: YAML file.
        overrides: ``key.sub=value`` for all runs.
        kind: refuse the other one.

    Raises:
        InputError: one line with the file, the run and what is wrong with it.
    """
    raw = read_mapping(path)
    for override in overrides:
        refuse_own(override.partition("=")[0].strip(), "overrides")
    try:
        check_keys(raw)
        content = check_section(_PlanSection, raw, "")
        _check_kind(content, kind)
        folder = Path(path).parent
        rows = [_seeded(content, point, overrides, folder) for point in _points(content)]
    except RecursionError:
        raise InputError(f"{path}: nested too deeply, or an anchor that holds itself") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    turns = chain.from_iterable(zip_longest(*rows))
    plan = Plan(content.name, tuple(run for run in turns if run is not None))
    for run in plan.runs:
        try:
            run.load()
        except InputError as error:
            raise InputError(f"{path}: {run.label}: {error}") from None
    return plan


def _check_kind(content: _PlanSection, kind: PlanKind | None) -> None:
    makes = content.grid is not None or content.points is not None
    if content.runs is None and not makes:
        raise InputError(
            "runs, grid, list: missing; give the runs of a study, or the grid or list of a sweep"
        )
    if content.runs is not None and makes:
        raise InputError("runs: does not go with grid or list; make two plans")
    found: PlanKind = "sweep" if makes else "study"
    if kind is not None and kind != found:
        raise InputError(f"this is a {found}; give it to the command {found}")


def _points(content: _PlanSection) -> Iterator[Point]:
    """Yield the runs of a plan, still without what stands at the top."""
    if content.runs is None:
        yield from grid_points(content.grid or {}, content.points or [{}])
        return
    for name, value in content.runs.items():
        where = f"runs.{name}"
        own = {"config": value} if isinstance(value, str) else value
        if not isinstance(own, Mapping):
            raise InputError(f"{where}: {shorten(repr(value))} received; give a config file or a mapping")
        run = check_section(_RunSection, own, where)
        yield Point(name, where, run.config, run.overrides, run.seeds)


def _seeded(content: _PlanSection, point: Point, overrides: Sequence[str], folder: Path) -> list[PlannedRun]:
    """Return one run a seed."""
    point.check()
    config = point.config if point.config is not None else content.config
    if config is None:
        raise InputError(f"{point.where}: config is missing; give a YAML file here or at the top")
    seeds = point.seeds or content.seeds or [0]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: {seeds} received; give each once")
    beside = folder / Path(config).expanduser()
    file = beside if beside.is_file() else Path(config).expanduser()
    texts = (
        *override_texts(content.overrides, "overrides"),
        *override_texts(point.overrides, point.where),
        *overrides,
    )
    return [PlannedRun(content.name, point.name, seed, _short(file), texts) for seed in seeds]


def _short(path: Path) -> Path:
    """Return a path without ``folder/..``, unless the folder is a link."""
    short = Path(os.path.normpath(path))
    return short if short.is_file() and path.is_file() and short.samefile(path) else path
