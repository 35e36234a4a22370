"""Scores of finished runs as lines of JSON, to be kept when the run directories are not.

A row has the config of a run, without settings of the machine, and the numbers of its report to six digits. A
file of rows is small enough to be committed, so a study can grow over days and machines.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdprior.config.earlier import in_present_form
from mmdprior.config.schema import Config
from mmdprior.errors import InputError, reason
from mmdprior.files import write_whole
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.plan import Plan
from mmdprior.runs.read import Run, read_run, run_of
from mmdprior.runs.start import difference

__all__ = ["MACHINE_SETTINGS", "add_rows", "find_rows", "portable", "read_rows"]

MACHINE_SETTINGS = frozenset(
    {
        "data.resident",
        "data.root",
        "data.workers",
        "evaluation.pictures",
        "trainer.checkpoint_every",
        "trainer.device",
        "trainer.keep_every",
        "trainer.keep_last",
        "trainer.log_every",
        "trainer.loggers",
    }
)
"""Settings of hardware, file locations, logging and checkpoints; they do not define the experiment."""

_FILES = frozenset({"path", "test_path"})
"""Settings of ``data`` that are files."""

_FOLDER = "image_folder"
"""Data whose ``root`` says which images they are; other sources have names of their own."""


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the settings of the machine, in the form of this release.

    Of the ``root`` of an image folder, or of data from a ``target``, the last part remains: it says which
    images they are.

    Args:
        config: resolved config, nested.

    Example:
        >>> from mmdprior.runs.rows import portable
        >>> portable({"name": "vae", "trainer": {"steps": 10, "device": "cuda"}})
        {'name': 'vae', 'trainer': {'steps': 10}}
        >>> portable({"data": {"name": "image_folder", "root": "/data/birds"}})
        {'data': {'name': 'image_folder', 'root': 'birds'}}
    """
    content = {
        section: {k: v for k, v in value.items() if f"{section}.{k}" not in MACHINE_SETTINGS}
        if isinstance(value, Mapping)
        else value
        for section, value in in_present_form(config).items()
    }
    data = config.get("data")
    if isinstance(data, Mapping) and data.get("root") and data.get("name", _FOLDER) == _FOLDER:
        content["data"]["root"] = Path(str(data["root"])).name
    return content


def read_rows(path: str | Path) -> list[Run]:
    """Return the runs of a file of rows; none for a missing file.

    Args:
        path: file with one JSON object per line, as `add_rows` writes it.

    Raises:
        InputError: a line that is no row.
    """
    if not Path(path).is_file():
        return []
    runs = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            place = Path(path) / str(row["config"]["name"]) / f"seed_{row['config']['seed']}"
            runs.append(run_of(place, row["config"], row["test"], row["facts"], is_row=True))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: line {number} is not a row ({reason(error)}); delete it") from None
    return runs


def find_rows(plan: Plan, path: str | Path) -> dict[str, Run]:
    """Return the rows of the runs of a plan, by the label of the run.

    Raises:
        InputError: a run of the same name and seed has a row of another config, or a line is no row.
    """
    by_name = {(str(row.config["name"]), row.seed): row for row in read_rows(path)}
    found = {}
    for run in plan.runs:
        config = run.load()
        row = by_name.get((config.name, config.seed))
        if row is None:
            continue
        changed = _difference(config, row.config)
        if changed is not None:
            raise InputError(
                f"{path}: {run.label} has a row of another config ({changed}); delete the row, or give "
                "another file"
            )
        found[run.label] = row
    return found


def add_rows(plan: Plan, runs: str | Path, path: str | Path) -> dict[str, Run]:
    """Append the rows of the finished runs of a plan that have none; return them by the label of the run.

    Args:
        plan: the plan.
        runs: folder that contains the plan's folder.
        path: file of rows.
    """
    known = find_rows(plan, path)
    new = {
        run.label: read_run(run.directory(runs))
        for run in plan.runs
        if run.label not in known and RunDirectory(run.directory(runs)).finished
    }
    if new:
        old = Path(path).read_text() if Path(path).is_file() else ""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), old + "".join(f"{_row(run)}\n" for run in new.values()))
    return new


def _row(run: Run) -> str:
    content = {
        "config": _of_row(run.config),
        "test": _short(run.test),
        "facts": _short({**run.facts, **_cost(run)}),
    }
    return json.dumps(content, separators=(",", ":"), default=str)


def _short(value: Any) -> Any:
    """Return a part of a report without matrices, and with six significant digits of every number."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _short(entry) for key, entry in value.items() if key != "matrices"}
    return [_short(entry) for entry in value] if isinstance(value, list) else value


def _cost(run: Run) -> dict[str, float]:
    """Return the numbers that are computed from the curves, which a row does not keep."""
    names = ("train_seconds", "steps_per_second", "steps")
    return {name: run.scalars[f"cost/{name}"] for name in names if f"cost/{name}" in run.scalars}


def _difference(config: Config, stored: Mapping[str, Any]) -> str | None:
    given, row = _of_row(config.to_dict()), _of_row(stored)
    if "root" not in row["data"]:  # a row of an earlier release
        given["data"].pop("root", None)
    return difference(given, row)


def _of_row(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a portable config with the names of data files, which identify the data, but no folders."""
    content = portable(config)
    data = dict(content["data"])
    for key in _FILES & data.keys():
        value = data[key]
        data[key] = [Path(f).name for f in value] if isinstance(value, list) else value and Path(value).name
    return {**content, "data": data}
