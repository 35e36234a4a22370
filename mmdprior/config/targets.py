"""Targets: the user's own objects, named by module or file."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from mmdprior.errors import InputError, reason

__all__ = ["import_target", "locate"]


def import_target(target: str, path: str = "target") -> Any:
    """Import ``package.module:Object`` or ``path/to/file.py:object``; the module's code runs.

    Raises:
        InputError: a target of another form, or one that cannot be found or imported.
    """
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise InputError(f"{path}: {target!r} received; give 'package.module:Object' or 'file.py:object'")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
        for part in attribute.split("."):
            module = getattr(module, part)
    except (Exception, SystemExit) as error:  # the user's module runs here
        detail = f"{type(error).__name__}: {reason(error)}"
        raise InputError(f"{path}: {target!r} cannot be imported ({detail})") from error
    return module


def _import_module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)


def _import_file(file: Path) -> Any:
    name = f"mmdprior_target_{file.resolve().as_posix().replace('/', '_').replace('.', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"not a Python file: {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def locate(target: str, folder: Path) -> str:
    """Make the file of a target absolute: beside the YAML file first, else from where we are."""
    place, colon, attribute = target.rpartition(":")
    if not place.endswith(".py"):
        return target
    beside = folder / Path(place).expanduser()
    file = beside if beside.is_file() else Path(place).expanduser()
    return f"{file.resolve()}{colon}{attribute}"
