"""Start a run or continue one, in a directory that this process alone writes."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmdprior.build.restore import config_of
from mmdprior.config.load import load_config, read_mapping
from mmdprior.config.schema import SECTIONS, Config
from mmdprior.errors import InputError, shorten
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.experiment import Experiment, assemble
from mmdprior.training import newest_checkpoint
from mmdprior.training.retention import has_checkpoint
from mmdprior.world import World

__all__ = ["continue_run", "difference", "enter_run", "has_finished", "open_run", "start_run"]

Log = Callable[[str], None]


def open_run(asked: Namespace, hold: ExitStack, log: Log = print) -> Experiment | None:
    """Start or continue what was asked for; None for a directory whose run has finished.

    Args:
        asked: ``config`` with its ``overrides``, to start in a new directory below ``runs`` or in
            ``directory``; or the run to ``resume``, with ``trust`` where it names targets.
        hold: keeps the directory claimed.
        log: is given a line about every damaged checkpoint.
    """
    if asked.resume is not None:
        return continue_run(asked.resume, hold, log, trust=asked.trust)
    config = load_config(str(asked.config), asked.overrides)
    if asked.directory is not None:
        return enter_run(config, Path(asked.directory), hold, log)
    return start_run(config, asked.runs, hold)


def start_run(config: Config, runs: str | Path, hold: ExitStack) -> Experiment:
    """Make a new run in a directory of its own below ``runs``.

    Args:
        config: checked.
        runs: where run directories are made.
        hold: keeps the directory claimed.
    """
    experiment = assemble(config, runs=runs)
    if experiment.directory is not None:
        _claim(experiment.directory, hold)
    return experiment


def continue_run(run: str | Path, hold: ExitStack, log: Log = print, *, trust: bool = False) -> Experiment:
    """Continue a run from its last checkpoint that is whole, by the config in there.

    Args:
        run: its directory.
        hold: keeps the directory claimed.
        log: is given a line about every damaged checkpoint.
        trust: run targets that the checkpoint names.

    Raises:
        InputError: no run, no checkpoint, or another process that writes there.
    """
    directory = Path(run)
    if not directory.is_dir():
        raise InputError(f"--resume: {run} is not a folder; give a run directory")
    if not has_checkpoint(directory):
        raise InputError(f"--resume: {run} holds no checkpoint; start the run anew")
    _claim(directory, hold)
    path, content = newest_checkpoint(directory, log)
    return assemble(config_of(content, str(path), trust=trust), directory, content)


def enter_run(config: Config, directory: Path, hold: ExitStack, log: Log = print) -> Experiment | None:
    """Start the run of a directory, or continue the one that is there; None when that has finished.

    Args:
        config: checked.
        directory: made if it is not there.
        hold: keeps the directory claimed.
        log: is given a line about every damaged checkpoint.

    Raises:
        InputError: the directory holds a run of another config, or another process writes there.
    """
    if has_finished(config, directory):
        return None
    _claim(RunDirectory(directory).create().path, hold)
    if not has_checkpoint(directory):
        RunDirectory(directory).remove_logs()
        return assemble(config, directory)
    _, content = newest_checkpoint(directory, log)
    _refuse_other(config, content["config"], directory)
    return assemble(config, directory, content)


def has_finished(config: Config, directory: Path) -> bool:
    """Log whether a directory holds the finished run of a config.

    Raises:
        InputError: it holds a run of another, be it finished or not.
    """
    finished, resolved = RunDirectory(directory).finished, RunDirectory(directory).config
    if finished or (has_checkpoint(directory) and resolved.is_file()):
        _refuse_other(config, read_mapping(resolved), directory)
    return finished


def difference(new: Any, old: Any, path: str = "") -> str | None:
    """Return the first key at which a config differs from a stored one, in words.

    A setting of a section that the stored one lacks came with a later version: it counts at its default.
    """
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old and _at_default(f"{path}{key}", new[key]):
                continue
            if key not in new or key not in old:
                return f"{path}{key}"
            found = difference(new[key], old[key], f"{path}{key}.")
            if found is not None:
                return found
        return None
    return None if new == old else f"{path[:-1]} {shorten(repr(old))}, not {shorten(repr(new))}"


def _at_default(path: str, value: Any) -> bool:
    """Log whether a setting of a section has its default value; a slot's default is a name alone."""
    section, _, key = path.partition(".")
    fields = SECTIONS[section].model_fields if section in SECTIONS else {}
    if key not in fields or fields[key].is_required():
        return False
    default = fields[key].default
    return bool(value == default or (isinstance(value, Mapping) and value.get("name") == default))


def _refuse_other(config: Config, stored: Mapping[str, Any], directory: Path) -> None:
    found = difference(config.to_dict(), stored)
    if found is not None:
        raise InputError(
            f"{directory}: holds a run of another config ({found}); repeat its overrides, or "
            "give another directory"
        )


def _claim(directory: Path, hold: ExitStack) -> None:
    """Keep other runs out, once a run: by the main one of the processes that train together."""
    if World.from_environment().main:
        hold.enter_context(RunDirectory(directory).claim())
        RunDirectory(directory).remove_temporary_files()
