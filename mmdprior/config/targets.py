"""Targets: objects in the user's own modules and files, named as ``module:Object`` or ``file.py:object``."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdprior.errors import InputError, reason
from mmdprior.files import expand

__all__ = ["absolute_target", "import_target"]

_PREFIX = "mmdprior_target_"
"""Start of the names of modules that are files."""
_imported: dict[str, Path] = {}
"""Modules that files have imported from their own folders, by name, with the folder."""


def import_target(target: str, path: str = "target") -> Any:
    """Import ``package.module:Object`` or ``path/to/file.py:object``; the code of the module runs.

    While a file is loaded, its own folder is on the search path, so that it can import its neighbours. A file
    in a package may use relative imports.

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
    path = Path(expand(place))
    file = folder / path if (folder / path).is_file() else path
    return f"{file.resolve()}{colon}{attribute}"


def _import_module(name: str) -> Any:
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:  # an installed command does not search it
        sys.path.append(working_directory)
    return importlib.import_module(name)


def _import_file(file: Path) -> Any:
    name = f"{_PREFIX}{file.resolve().as_posix().replace('/', '_').replace('.', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    with _neighbours(file.resolve()) as package:
        try:
            return _run_file(file, name)
        except ImportError as error:
            if package is None or "relative import" not in str(error):
                raise
            # A file of a package is imported as such, which runs the package's __init__.py, too.
            return importlib.import_module(package)


def _run_file(file: Path, name: str) -> Any:
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


@contextmanager
def _neighbours(file: Path) -> Iterator[str | None]:
    """Return a context manager in which a file can import its neighbours, and its own package by name.

    The folder of the file, and the one that contains its outermost package, come first on the search path. It
    gives the dotted name of a file in a package, otherwise None.
    """
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    folders = list(dict.fromkeys([file.parent, root]))
    _forget_others(folders)
    before = {*sys.modules}
    sys.path[:0] = map(str, folders)
    importlib.invalidate_caches()
    try:
        yield None if root == file.parent else ".".join(file.relative_to(root).with_suffix("").parts)
    finally:
        for folder in folders:
            sys.path.remove(str(folder))
        for name in sys.modules.keys() - before:
            place = getattr(sys.modules[name], "__file__", None)
            owner = next((folder for folder in folders if place and folder in Path(place).parents), None)
            if owner is not None and not name.startswith(_PREFIX):
                _imported[name] = owner


def _forget_others(folders: Sequence[Path]) -> None:
    """Forget neighbours of other files whose name, such as ``utils``, is also in these folders."""
    for name, folder in list(_imported.items()):
        top = name.split(".")[0]
        clash = any((place / f"{top}.py").is_file() or (place / top).is_dir() for place in folders)
        if folder not in folders and clash:
            del _imported[name]
            sys.modules.pop(name, None)
