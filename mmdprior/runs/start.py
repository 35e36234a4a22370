"""Start, continue or skip a run, in a directory that only this process writes to."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmdprior.build.data import PLACES
from mmdprior.build.restore import config_of, targets_in
from mmdprior.config.earlier import in_present_form
from mmdprior.config.load import dump_config, load_config, read_mapping
from mmdprior.config.schema import SECTIONS, Config
from mmdprior.config.text import parse_value
from mmdprior.errors import InputError, shorten
from mmdprior.files import write_whole
from mmdprior.runs.assembly import assemble
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.experiment import Experiment
from mmdprior.training import newest_checkpoint
from mmdprior.training.retention import has_checkpoint
from mmdprior.world import World

__all__ = ["continue_run", "difference", "enter_run", "is_finished", "open_run", "start_run"]

Log = Callable[[str], None]


def open_run(
    config: str | None,
    overrides: Sequence[str],
    claims: ExitStack,
    log: Log = print,
    *,
    resume: str | None = None,
    directory: str | None = None,
    runs: str = "runs",
    trust: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> Experiment | None:
    """Build the run that the options of ``mmdprior train`` describe.

    Args:
        config: path of a YAML config; None with ``resume``.
        overrides: changes to the config, ``key.sub=value``. With ``resume`` only the place of the data may
            change, such as ``data.root=DIR``.
        claims: keeps the lock of the run directory until it is closed.
        log: called with a line per damaged checkpoint.
        resume: directory of a run to continue, by the config in its checkpoint.
        directory: directory to start the run in, or to continue it in.
        runs: folder in which a new run directory is made, without ``resume`` and ``directory``.
        trust: whether targets that the checkpoint names may run.
        dry_run: whether the run is only built, without a directory.
        quiet: whether the run shows no progress.

    Returns:
        The run, or None if ``directory`` holds the finished run of this config.
    """
    experiment: Experiment | None
    if resume is not None:
        experiment = continue_run(resume, claims, log, overrides=overrides, trust=trust)
    else:
        checked = load_config(str(config), overrides)
        if dry_run:
            experiment = assemble(checked)
        elif directory is not None:
            experiment = enter_run(checked, Path(directory), claims, log)
        else:
            experiment = start_run(checked, runs, claims)
    if experiment is not None and quiet:
        experiment.trainer.progress = False
    return experiment


def start_run(config: Config, runs: str | Path, claims: ExitStack) -> Experiment:
    """Build a run in a new directory.

    Args:
        config: checked config.
        runs: folder in which the directory is made.
        claims: keeps the lock of the directory until it is closed.
    """
    experiment = assemble(config, runs=runs)
    if experiment.directory is not None:
        _claim(experiment.directory, claims)
    return experiment


def continue_run(
    run: str | Path,
    claims: ExitStack,
    log: Log = print,
    *,
    overrides: Sequence[str] = (),
    trust: bool = False,
) -> Experiment:
    """Build a run from its newest undamaged checkpoint, with the config in that checkpoint.

    With overrides, ``config.yaml`` in the run directory names the new place of the data from then on.

    Args:
        run: run directory.
        claims: keeps the lock of the directory until it is closed.
        log: called with a line per damaged checkpoint.
        overrides: the place of data that were moved, such as ``data.root=DIR``.
        trust: whether targets that the checkpoint names may run.

    Raises:
        InputError: not a run directory, no checkpoint, another process writes there, or another override.
    """
    directory = Path(run)
    if not directory.is_dir():
        raise InputError(f"--resume: {run} is not a folder; give a run directory")
    if not has_checkpoint(directory):
        raise InputError(f"--resume: {run} holds no checkpoint; start the run again")
    _claim(directory, claims)
    path, content = newest_checkpoint(directory, log)
    content = _moved(content, overrides)
    experiment = assemble(config_of(content, str(path), trust=trust), directory, content)
    if overrides and experiment.trainer.world.main:
        write_whole(RunDirectory(directory).config, dump_config(experiment.config))
    return experiment


def _moved(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the content of a checkpoint whose config has the data at another place.

    Pixel ranges are left out: they follow from the data again, and the config stays that of the user.
    """
    data = dict(content["config"]["data"])
    places = [key for key in PLACES if key in data]
    for override in overrides:
        key, _, text = override.partition("=")
        name = key.strip().removeprefix("data.")
        if not key.strip().startswith("data.") or name not in places:
            allowed = " or ".join(f"data.{place}" for place in places) or "no setting of these data"
            raise InputError(
                f"override: {override!r} received with --resume, which can change {allowed} only"
            )
        data[name] = parse_value(text, f"override {key}")
    return {**content, "config": {**content["config"], "data": data}, "value_ranges": {}}


def enter_run(config: Config, directory: Path, claims: ExitStack, log: Log = print) -> Experiment | None:
    """Build the run of a directory: a new one, or the one that the directory holds.

    Args:
        config: checked config.
        directory: run directory, created where missing.
        claims: keeps the lock of the directory until it is closed.
        log: called with a line per damaged checkpoint.

    Returns:
        The run, or None if it is finished.

    Raises:
        InputError: the directory holds a run of another config, or another process writes there.
    """
    if is_finished(config, directory):
        return None
    _claim(RunDirectory(directory).create().path, claims)
    if not has_checkpoint(directory):
        RunDirectory(directory).remove_logs()
        return assemble(config, directory)
    _, content = newest_checkpoint(directory, log)
    _check_same(config, content["config"], directory)
    return assemble(config, directory, content)


def is_finished(config: Config, directory: Path) -> bool:
    """Return whether a directory holds the finished run of a config.

    Raises:
        InputError: it holds a run of another config, finished or not.
    """
    run = RunDirectory(directory)
    if run.finished or (has_checkpoint(directory) and run.config.is_file()):
        _check_same(config, read_mapping(run.config), directory)
    return run.finished


def difference(new: Any, old: Any, path: str = "") -> str | None:
    """Return the first key at which a config differs from a stored one, with both values.

    A setting that the stored config lacks was added by a later version. It counts as equal at its default.

    Args:
        new: resolved config, nested.
        old: stored config, nested.
        path: key path of both, with a dot at its end.

    Example:
        >>> difference({"seed": 1}, {"seed": 0})
        'seed 0, not 1'
    """
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old and _is_default(f"{path}{key}", new[key]):
                continue
            if key not in new or key not in old:
                return f"{path}{key}"
            inner = difference(new[key], old[key], f"{path}{key}.")
            if inner is not None:
                return inner
        return None
    return None if new == old else f"{path[:-1]} {shorten(repr(old))}, not {shorten(repr(new))}"


def _is_default(path: str, value: Any) -> bool:
    """Return whether a section's setting has its default value. The default of a slot is a name."""
    section, _, key = path.partition(".")
    fields = SECTIONS[section].model_fields if section in SECTIONS else {}
    if key not in fields or fields[key].is_required():
        return False
    default = fields[key].default
    if isinstance(default, list):
        return bool(value == default or value == [{"name": name} for name in default])
    return bool(value == default or (isinstance(value, Mapping) and value.get("name") == default))


def _check_same(config: Config, stored: Mapping[str, Any], directory: Path) -> None:
    changed = difference(in_present_form(config.to_dict()), in_present_form(_with_defaults(stored, config)))
    if changed is not None:
        raise InputError(
            f"{directory}: holds a run of another config ({changed}); repeat its overrides, or "
            "give another directory"
        )


def _claim(directory: Path, claims: ExitStack) -> None:
    """Lock the directory. Only the main process does: the others of its run write nothing."""
    if World.from_environment().main:
        claims.enter_context(RunDirectory(directory).claim())
        RunDirectory(directory).remove_temporary_files()


def _with_defaults(stored: Mapping[str, Any], config: Config) -> Mapping[str, Any]:
    """Return a stored config with the defaults of the arguments that later versions added to its slots.

    A stored config that names other targets than the config is returned unchanged: it differs in any case,
    and their code must not run.
    """
    known = set(targets_in(config.to_dict()))
    try:
        return config_of({"config": stored}, "", trust=known.issuperset(targets_in(stored))).to_dict()
    except InputError:
        return stored
