"""Finished runs, read from what they saved; no model is loaded."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml

from mmdprior.errors import InputError, reason, shorten

__all__ = ["Curve", "Run", "find_runs", "read_run", "scalars_of"]

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, of equal length."""

_SEED = re.compile(r"(^|[/_.-])seed[_-]?\d+$")
_NUMBERS = ("effective_rank", "active_units", "total_correlation", "total_correlation_ranks")
_MORE = ("covariance_ratio", "mmd_standardised")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Run:
    """What one run saved.

    Attributes:
        directory: of the run.
        config: as resolved, nested.
        test: content of ``report/test.json``; empty where there is none.
        facts: content of ``report/run.json``; empty where there is none.
        curves: numbers logged while training, by TensorBoard tag.
        scalars: final numbers of the test split by TensorBoard tag, and ``cost/...`` of the run.
        pictures: files in ``report/`` by name.
        started: commands that started and continued the run.
    """

    directory: Path
    config: Mapping[str, Any]
    test: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)
    started: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config.get("seed", 0))

    @property
    def name(self) -> str:
        """Name of the run, without a seed at its end."""
        return _SEED.sub("", str(self.config.get("name", ""))) or self.directory.name

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that made the run; where none were saved, one that makes it again."""
        return self.started or (f"mmdprior train {self.directory / 'config.yaml'}",)

    @property
    def codes(self) -> Path | None:
        """The file of saved codes, where there is one."""
        path = self.directory / "report" / "codes.npz"
        return path if path.is_file() else None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what ``codes.npz`` holds.

        Raises:
            InputError: there is none, or it is damaged.
        """
        if self.codes is None:
            raise InputError("codes.npz: not saved; compare --complete writes it from the checkpoint")
        try:
            with np.load(self.codes, allow_pickle=False) as held:
                return {name: held[name] for name in held.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{self.codes}: not readable ({reason(error)}); delete it, then compare --complete"
            ) from None

    @property
    def missing(self) -> tuple[str, ...]:
        """Files of ``report/`` that are not there."""
        report = self.directory / "report"
        return tuple(name for name in ("test.json", "run.json", "codes.npz") if not (report / name).is_file())


def find_runs(paths: Sequence[str | Path]) -> list[Path]:
    """Return the run directories named, in order, each once.

    Args:
        paths: run directories, folders that hold some at any depth, or checkpoints inside runs.

    Raises:
        InputError: a path that is not there, or holds no run.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_file() and path.suffix == ".pt":
            path = path.parent.parent
        if not path.is_dir():
            raise InputError(f"runs: {given} is no folder; give run directories, or a folder that holds some")
        inside = [path] if _is_run(path) else sorted(p.parent for p in path.rglob("config.yaml"))
        inside = [run for run in inside if _is_run(run)]
        if not inside:
            raise InputError(f"runs: {given} holds no run (config.yaml beside metrics.jsonl or report/)")
        found |= dict.fromkeys(inside)
    if not found:
        raise InputError("runs: none named; give run directories, or a folder that holds some")
    return list(found)


def read_run(directory: Path) -> Run:
    """Read one run.

    Raises:
        InputError: a config or a score file that is damaged.
    """
    config = _config(directory / "config.yaml")
    report = directory / "report"
    test, facts = _json(report / "test.json"), _json(report / "run.json")
    curves = read_curves(directory / "metrics.jsonl")
    pictures = {p.stem: p for p in sorted(report.glob("*")) if p.suffix in (".png", ".gif")}
    try:
        scalars = scalars_of(test) | _cost(facts, curves)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{report}: scores of another format ({reason(error)}); score it anew") from None
    commands = directory / "commands.txt"
    started = tuple(commands.read_text().split("\n")[:-1]) if commands.is_file() else ()
    return Run(directory, config, test, facts, curves, scalars, pictures, started)


def scalars_of(test: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of ``test.json`` by TensorBoard tag, as `Evaluation.scalars` names them."""
    values: dict[str, Any] = {}
    if test:
        values = {
            "latents/active": test["active"],
            "latents/dim": test["dim"],
            "independence/effective_rank": test["effective_rank"],
        }
    for entry in test.get("lps", ()):
        tag = f"lps/{entry['predictor']}" + _end(entry["representation"])
        low, high = entry.get("interval") or (None, None)
        values |= {tag: entry["score"], f"{tag}_max": entry["max"], f"{tag}_null": entry.get("null")}
        values |= {f"{tag}_low": low, f"{tag}_high": high, f"{tag}_p": entry.get("p_value")}
    for representation, found in test.get("independence", {}).items():
        values |= _companions(found, _end(representation))
    for room in ("match", "reconstruction"):
        values |= {f"{room}/{name}": number for name, number in test.get(room, {}).items()}
    return {tag: math.nan if value is None else float(value) for tag, value in values.items()}


def read_curves(path: Path) -> dict[str, Curve]:
    """Return what a run logged, by tag; a line cut short by a crash is left out."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        for tag, value in entry.items():
            steps, values = found.setdefault(tag, ([], []))
            steps.append(step)
            values.append(float(value) if isinstance(value, int | float) else math.nan)
    return {tag: (np.array(steps), np.array(values)) for tag, (steps, values) in found.items()}


def _companions(found: Mapping[str, Any], end: str) -> dict[str, Any]:
    values = {name: found[name] for name in (*_NUMBERS, *_MORE) if name in found}
    for name in ("mutual_information", "distance_correlation"):
        if name in found:
            values |= {name: found[name].get("mean"), f"{name}_max": found[name].get("max")}
    if "dhsic" in found:
        values["dhsic_p_value"] = found["dhsic"].get("p_value")
    return {f"independence/{name}{end}": value for name, value in values.items()}


def _cost(facts: Mapping[str, Any], curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return seconds of training (the logged rates, summed over the steps), and what the facts say."""
    values = {}
    steps, rates = curves.get("trainer/steps_per_second", (np.zeros(0), np.zeros(0)))
    there = np.isfinite(rates) & (rates > 0)
    if there.any():
        done = np.diff(steps, prepend=0)
        values["cost/train_seconds"] = float((done[there] / rates[there]).sum())
        values["cost/steps_per_second"] = float(done[there].sum() / values["cost/train_seconds"])
        values["cost/steps"] = float(steps[-1])
    for name in ("parameters", "ssim", "marginal_distance", "seconds"):
        if isinstance(facts.get(name), int | float):
            room = {"ssim": "reconstruction", "marginal_distance": "match"}.get(name, "cost")
            values[f"{room}/{name}"] = float(facts[name])
    return values


def _config(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # safe by the choice of loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable ({reason(error)})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: {shorten(repr(found))} received; a run's config is a mapping")
    return found


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({reason(error)}); score the run anew") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: {shorten(repr(found))} received; a report is a mapping")
    return found


def _end(representation: Iterable[str]) -> str:
    return "_sample" if representation == "sample" else ""


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").is_file() and (
        (path / "metrics.jsonl").is_file() or (path / "report").is_dir()
    )
