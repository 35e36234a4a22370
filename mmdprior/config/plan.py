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

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmdprior.config.load import check_keys, load_config, read_mapping
from mmdprior.config.points import Point, grid_points, override_texts, refuse_own
from mmdprior.config.schema import Config, Section, check_section
from mmdprior.errors import InputError, shown

__all__ = ["Kind", "Plan", "PlannedRun", "is_plan", "read_plan"]

Kind = Literal["study", "sweep"]
_NAME = r"^\w[\w.+-]*(/\w[\w.+-]*)*$"


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
    """Tell a plan from the config of one run, which has none of these keys."""
    return isinstance(raw, Mapping) and bool({"runs", "grid", "list"} & raw.keys())


def read_plan(path: str | Path, overrides: Sequence[str] = (), kind: Kind | None = None) -> Plan:
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


def _check_kind(content: _PlanSection, kind: Kind | None) -> None:
    makes = content.grid is not None or content.points is not None
    if content.runs is None and not makes:
        raise InputError(
            "runs, grid, list: missing; give the runs of a study, or the grid or list of a sweep"
        )
    if content.runs is not None and makes:
        raise InputError("runs: does not go with grid or list; make two plans")
    found: Kind = "sweep" if makes else "study"
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
            raise InputError(f"{where}: {shown(repr(value))} received; give a config file or a mapping")
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
