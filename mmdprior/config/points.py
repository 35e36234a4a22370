"""The points of a sweep: every entry of a list with every combination of a grid, each with a name."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdprior.config.load import parse_value
from mmdprior.errors import InputError, shown

__all__ = ["Point", "grid_points", "override_texts", "refuse_own"]

_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")
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
        if not _NAME.fullmatch(self.name) or self.name == "comparison":
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
            raise InputError(f"grid.{key}: {shown(repr(values))} received; give a list of values")
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
                raise InputError(f"{where}: config {shown(repr(config))} received; give a YAML file")
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
            raise InputError(f"{where}: {key} {shown(repr(value))} received; give plain values") from None
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
