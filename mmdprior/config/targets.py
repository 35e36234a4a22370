"""Targets: objects in the user's own modules and files, named as ``module:Object`` or ``file.py:object``."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from mmdprior.errors import InputError, reason

__all__ = ["absolute_target", "import_target"]


def import_target(target: str, path: str = "target") -> Any:
    """Import ``package.module:Object`` or ``path/to/file.py:object``; the code of the module runs.

    Args:
        target: module or file, a colon, and a name in it, which may have dots.
        path: key path or option, for errors.

    Raises:
        InputError: a target of another form, or one that cannot be imported.

    Example:
        >>> from mmdprior.config.targets import import_target
        >>> import_target("math:pi")
        3.14159...
    """
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise InputError(f"{path}: {target!r} received; give 'package.module:Object' or 'file.py:object'")
    try:
        value = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # the user's module runs here and may raise anything
        detail = f"{type(error).__name__}: {reason(error)}"
        raise InputError(f"{path}: {target!r} cannot be imported ({detail})") from error
    return value


def absolute_target(target: str, folder: Path) -> str:
    """Return a target with the path of its file made absolute; a module stays as it is.

    Args:
        target: as written in the YAML file.
        folder: folder of the YAML file, which is searched before the working directory.
    """
    place, colon, attribute = target.rpartition(":")
    if not place.endswith(".py"):
        return target
    next_to_yaml = folder / Path(place).expanduser()
    file = next_to_yaml if next_to_yaml.is_file() else Path(place).expanduser()
    return f"{file.resolve()}{colon}{attribute}"


def _import_module(name: str) -> Any:
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:  # an installed command does not search it
        sys.path.append(working_directory)
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
    sys.modules[name] = module  # before the code runs: pickle and dataclasses look the module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
