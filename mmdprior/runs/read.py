"""Read what a run saved. No model is loaded."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml

from mmdprior.errors import InputError, reason, shorten
from mmdprior.metrics.semantics import SCALARS
from mmdprior.runs.directory import CONFIG, RunDirectory

__all__ = ["Curve", "Run", "find_runs", "read_curves", "read_run", "run_of", "scalars_of"]

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, two arrays of equal length."""

_SEED_SUFFIX = re.compile(r"(^|[/_.-])seed[_-]?\d+$")
_INDEPENDENCE = (
    "effective_rank",
    "active_units",
    "total_correlation",
    "total_correlation_ranks",
    "covariance_ratio",
    "mmd_standardised",
)
"""Statistics of ``test.json`` that become scalars under ``independence/``."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Run:
    """What one run saved.

    Attributes:
        directory: run directory.
        config: resolved config, nested.
        test: content of ``report/test.json``; empty where missing.
        facts: content of ``report/run.json``; empty where missing.
        curves: numbers logged during training, by TensorBoard tag.
        scalars: final numbers of the test split by TensorBoard tag, and ``cost/...`` of the run.
        pictures: files in ``report/`` by name without suffix.
        started: commands that started and continued the run.
        is_row: whether this is a line of a file of rows, which has no codes, curves and pictures.
    """

    directory: Path
    config: Mapping[str, Any]
    test: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)
    started: tuple[str, ...] = ()
    is_row: bool = False

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config.get("seed", 0))

    @property
    def name(self) -> str:
        """Name of the run, without a seed at its end."""
        return _SEED_SUFFIX.sub("", str(self.config.get("name", ""))) or self.directory.name

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands that made the run; where none were saved, the command that would repeat it."""
        return self.started or (f"mmdprior train {RunDirectory(self.directory).config}",)

    @property
    def codes(self) -> Path | None:
        """File of saved codes, or None."""
        path = RunDirectory(self.directory).codes
        return path if path.is_file() else None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the saved codes by name; see `mmdprior.runs.report.write_report`.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = RunDirectory(self.directory).codes
        if not path.is_file():
            raise InputError(f"{path.name}: not saved; compare --complete writes it from the checkpoint")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(
                f"{path}: not readable ({reason(error)}); delete it, then compare --complete"
            ) from None

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the files of ``report/`` that are missing; none for a row."""
        if self.is_row:
            return ()
        run = RunDirectory(self.directory)
        return tuple(path.name for path in (run.scores, run.facts, run.codes) if not path.is_file())


def find_runs(paths: Sequence[str | Path]) -> list[Path]:
    """Return the run directories in the given places, in order, each once.

    Args:
        paths: run directories, folders that contain run directories at any depth, or checkpoints of runs.

    Raises:
        InputError: a path does not exist or contains no run.

    Example:
        >>> find_runs(["missing"])
        Traceback (most recent call last):
        mmdprior.errors.InputError: runs: missing is not a folder; give run directories, or folders of runs
    """
    runs: dict[Path, None] = {}
    for entry in paths:
        path = Path(entry)
        if path.is_file() and path.suffix == ".pt":
            path = path.parent.parent
        if not path.is_dir():
            raise InputError(f"runs: {entry} is not a folder; give run directories, or folders of runs")
        inside = [path] if RunDirectory(path).exists else sorted(p.parent for p in path.rglob(CONFIG))
        inside = [directory for directory in inside if RunDirectory(directory).exists]
        if not inside:
            raise InputError(f"runs: {entry} contains no run; give run directories, or folders of runs")
        runs |= dict.fromkeys(inside)
    if not runs:
        raise InputError("runs: missing; give run directories, or folders of runs")
    return list(runs)


def read_run(directory: Path) -> Run:
    """Read one run.

    Args:
        directory: run directory.

    Raises:
        InputError: the config or the scores are damaged.
    """
    run = RunDirectory(directory)
    config, test, facts = _read_config(run.config), _read_json(run.scores), _read_json(run.facts)
    pictures = {path.stem: path for path in run.pictures}
    started = tuple(run.commands.read_text().split("\n")[:-1]) if run.commands.is_file() else ()
    return run_of(
        directory,
        config,
        test,
        facts,
        curves=read_curves(run.metrics),
        pictures=pictures,
        started=started,
    )


def run_of(
    directory: Path,
    config: Mapping[str, Any],
    test: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    curves: Mapping[str, Curve] | None = None,
    **rest: Any,
) -> Run:
    """Return a run with the scalars that follow from its report.

    Args:
        directory: run directory.
        config: resolved config, nested.
        test: content of ``test.json``.
        facts: content of ``run.json``.
        curves: numbers logged during training.
        rest: further attributes of `Run`.

    Raises:
        InputError: scores of another format.
    """
    curves = {} if curves is None else curves
    try:
        scalars = scalars_of(test) | _cost(facts, curves)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = RunDirectory(directory).report
        raise InputError(f"{place}: scores of another format ({reason(error)}); score again") from None
    return Run(directory, config, test, facts, curves, scalars, **rest)


def scalars_of(test: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of ``test.json`` by TensorBoard tag, with the tags of `Evaluation.scalars`."""
    values: dict[str, Any] = {}
    if test:
        values = {
            "latents/active": test["active"],
            "latents/dim": test["dim"],
            "independence/effective_rank": test["effective_rank"],
        }
    for entry in test.get("lps", ()):
        tag = f"lps/{entry['predictor']}" + _suffix(entry["representation"])
        low, high = entry.get("interval") or (None, None)
        values |= {tag: entry["score"], f"{tag}_max": entry["max"], f"{tag}_null": entry.get("null")}
        values |= {f"{tag}_low": low, f"{tag}_high": high, f"{tag}_p": entry.get("p_value")}
    for representation, statistics in test.get("independence", {}).items():
        values |= _independence_scalars(statistics, _suffix(representation))
    supervised = test.get("disentanglement", {})
    for part, end in (("scores", ""), ("chance", "_chance")):
        values |= {f"disentanglement/{name}{end}": v for name, v in supervised.get(part, {}).items()}
    for label, scores in (test.get("semantics") or {}).get("labels", {}).items():
        values |= {f"semantics/{label}_{key}": scores.get(key) for key in SCALARS}
    for group in ("match", "reconstruction"):
        values |= {f"{group}/{name}": number for name, number in test.get(group, {}).items()}
    return {tag: math.nan if value is None else float(value) for tag, value in values.items()}


def read_curves(path: Path) -> dict[str, Curve]:
    """Return the logged numbers of a run by tag. A line that a crash cut short is skipped.

    Args:
        path: ``metrics.jsonl`` of the run.
    """
    points: dict[str, tuple[list[int], list[float]]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        for tag, value in entry.items():
            steps, values = points.setdefault(tag, ([], []))
            steps.append(step)
            values.append(float(value) if isinstance(value, int | float) else math.nan)
    return {tag: (np.array(steps), np.array(values)) for tag, (steps, values) in points.items()}


def _independence_scalars(statistics: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    values = {name: statistics[name] for name in _INDEPENDENCE if name in statistics}
    for name in ("mutual_information", "distance_correlation"):
        if name in statistics:
            values |= {name: statistics[name].get("mean"), f"{name}_max": statistics[name].get("max")}
    if "dhsic" in statistics:
        values["dhsic_p_value"] = statistics["dhsic"].get("p_value")
    return {f"independence/{name}{suffix}": value for name, value in values.items()}


def _suffix(representation: str) -> str:
    return "_sample" if representation == "sample" else ""


def _cost(facts: Mapping[str, Any], curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return seconds and rate of training, from the logged rates, and the numbers among the facts."""
    # Rows of runs have the cost among their facts.
    names = ("train_seconds", "steps_per_second", "steps")
    values = {
        f"cost/{name}": float(facts[name]) for name in names if isinstance(facts.get(name), int | float)
    }
    steps, rates = curves.get("trainer/steps_per_second", (np.zeros(0), np.zeros(0)))
    valid = np.isfinite(rates) & (rates > 0)
    if valid.any():
        done = np.diff(steps, prepend=0)
        values["cost/train_seconds"] = float((done[valid] / rates[valid]).sum())
        values["cost/steps_per_second"] = float(done[valid].sum() / values["cost/train_seconds"])
        values["cost/steps"] = float(steps[-1])
    for name in ("parameters", "ssim", "marginal_distance", "seconds"):
        if isinstance(facts.get(name), int | float):
            group = {"ssim": "reconstruction", "marginal_distance": "match"}.get(name, "cost")
            values[f"{group}/{name}"] = float(facts[name])
    return values


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader in either case
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable ({reason(error)})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: {shorten(repr(config))} received; the config of a run is a mapping")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({reason(error)}); score the run again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: {shorten(repr(content))} received; a report is a mapping")
    return content
