"""Start a run or continue one, in a directory that this process alone writes."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmdprior.config.experiment import Experiment, assemble
from mmdprior.config.load import read_mapping
from mmdprior.config.rebuild import config_of
from mmdprior.config.schema import Config
from mmdprior.errors import InputError, shown
from mmdprior.training import last_checkpoint, read_checkpoint
from mmdprior.training.run_directory import LAST, is_finished, lock_run, make_run_directory

__all__ = ["continue_run", "difference", "enter_run", "has_finished", "start_run"]


def start_run(config: Config, runs: str | Path, hold: ExitStack) -> Experiment:
    """Make a new run in a directory of its own below ``runs``.

    Args:
        config: checked.
        runs: where run directories are made.
        hold: keeps the directory claimed.
    """
    experiment = assemble(config, runs=runs)
    if experiment.directory is not None:
        hold.enter_context(lock_run(experiment.directory))
    return experiment


def continue_run(run: str | Path, hold: ExitStack, *, trust: bool = False) -> Experiment:
    """Continue a run from its last checkpoint, by the config in there.

    Raises:
        InputError: no run, no checkpoint, or another process that writes there.
    """
    directory = Path(run)
    last_checkpoint(directory)
    hold.enter_context(lock_run(directory))
    path = last_checkpoint(directory)
    content = read_checkpoint(path)
    return assemble(config_of(content, str(path), trust=trust), directory, content)


def enter_run(config: Config, directory: Path, hold: ExitStack) -> Experiment | None:
    """Start the run of a directory, or continue the one that is there; None when that has finished.

    Raises:
        InputError: the directory holds a run of another config, or another process writes there.
    """
    if has_finished(config, directory):
        return None
    hold.enter_context(lock_run(make_run_directory(directory)))
    if not (directory / "checkpoints" / LAST).is_file():
        _clear(directory)
        return assemble(config, directory)
    content = read_checkpoint(last_checkpoint(directory))
    _refuse_other(config, content["config"], directory)
    return assemble(config, directory, content)


def has_finished(config: Config, directory: Path) -> bool:
    """Tell whether a directory holds the finished run of a config.

    Raises:
        InputError: it holds a finished run of another.
    """
    if not is_finished(directory):
        return False
    _refuse_other(config, read_mapping(directory / "config.yaml"), directory)
    return True


def difference(new: Any, old: Any, path: str = "") -> str | None:
    """Return the first key at which a config differs from a stored one, in words.

    A key that the stored one lacks came with a later version, with a default that changes nothing.
    """
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key in [*old, *(key for key in new if key not in old and key in ("name", "target"))]:
            if key not in new or key not in old:
                return f"{path}{key}"
            found = difference(new[key], old[key], f"{path}{key}.")
            if found is not None:
                return found
        return None
    return None if new == old else f"{path[:-1]} {shown(repr(old))}, not {shown(repr(new))}"


def _refuse_other(config: Config, stored: Mapping[str, Any], directory: Path) -> None:
    found = difference(config.to_dict(), stored)
    if found is not None:
        raise InputError(f"{directory}: holds a run of another config ({found}); give another directory")


def _clear(directory: Path) -> None:
    """Drop what a start left that ended before its first checkpoint."""
    for path in [directory / "metrics.jsonl", *directory.glob("events.out.tfevents.*")]:
        path.unlink(missing_ok=True)
