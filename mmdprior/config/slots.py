"""Slots: ``name:`` for what ships, ``target:`` for the user's own, with its arguments beside it.

The arguments of a name are those of the constructor it stands for: names, types, defaults and
documentation are read from there, so they are said once.
"""

import collections.abc
import difflib
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pydantic
from torch import Tensor

from mmdprior.config.catalogue import INJECTED, LISTS, NAMES, NESTED
from mmdprior.errors import InputError, reason, shorten

__all__ = [
    "Slot",
    "arguments_model",
    "check_slot",
    "first_error",
    "import_target",
    "is_function_of",
    "locate",
    "nearest",
]

_WEIGHTED = "weighted_regularizer"
_BESIDE_PENALTY = ("weight", "schedule")


@dataclass(frozen=True)
class Slot:
    """A checked slot: what to build and with which arguments.

    Attributes:
        kind: ``prior``, ``kernel`` and so on.
        path: where it stands in the YAML, for errors.
        name: what ships under this name, or None.
        target: the user's own, or None.
        arguments: plain values, slots, or lists of slots.
    """

    kind: str
    path: str
    name: str | None
    target: str | None
    arguments: Mapping[str, Any]

    def factory(self) -> Any:
        """Return what is called to build this slot; imports a target."""
        return NAMES[self.kind][self.name] if self.name is not None else import_target(str(self.target))

    def to_dict(self) -> dict[str, Any]:
        """Return the YAML form."""
        if self.kind == _WEIGHTED:
            inner = {key: _plain(value) for key, value in self.arguments.items()}
            return {**inner.pop("penalty"), **inner}
        head = {"name": self.name} if self.name is not None else {"target": self.target}
        return {**head, **{key: _plain(value) for key, value in self.arguments.items()}}


def check_slot(
    kind: str, value: object, path: str = "", folder: Path = Path(), others: Iterable[str] = ()
) -> Slot:
    """Check a slot as it stands in the YAML, nested ones included, without building anything.

    Args:
        kind: which slot.
        value: a mapping with ``name`` or ``target``, or a name alone.
        path: where it stands.
        folder: of the YAML file, from where relative targets are looked up first.
        others: keys that stand beside it, for the hint on an unknown one.

    Raises:
        InputError: an unknown name or argument, a wrong type, a target that cannot be imported, or a
            missing argument.
    """
    mapping = {"name": value} if isinstance(value, str) else value
    if kind == _WEIGHTED and isinstance(mapping, Mapping):
        mapping = _weighted(mapping)
    if not isinstance(mapping, Mapping):
        raise InputError(
            f"{path}: {shorten(repr(value))} received; give a name or a mapping with name or target"
        )
    arguments = {key: entry for key, entry in mapping.items() if key not in ("name", "target")}
    name, target = mapping.get("name"), mapping.get("target")
    if (name is None) == (target is None):
        known = ", ".join(sorted(NAMES[kind]))
        raise InputError(
            f"{path}: give either name (one of {known}) or target" if known else f"{path}: give target"
        )
    if name is not None:
        if not isinstance(name, str) or name not in NAMES[kind]:
            raise InputError(
                f"{path}.name: {shorten(repr(name))} received; {nearest(str(name), NAMES[kind])}"
            )
        factory = NAMES[kind][name]
    else:
        if not isinstance(target, str):
            raise InputError(
                f"{path}.target: {shorten(repr(target))} received; give 'module:Object' in quotes"
            )
        target = locate(target, folder)
        factory = import_target(target, f"{path}.target")
        _check_target(kind, factory, target, path)
    checked = _check_arguments(kind, factory, arguments, path, folder, others)
    return Slot(kind, path, name, target, checked)


def _check_target(kind: str, factory: Any, target: str, path: str) -> None:
    if not callable(factory) and kind != "prior":
        raise InputError(f"{path}.target: {target!r} is {type(factory).__name__}; give a class or function")
    try:
        _parameters(factory, kind)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}.target: {target!r} has no signature that Python can read; wrap it in a function"
        ) from None


def _check_arguments(
    kind: str,
    factory: Any,
    arguments: Mapping[str, Any],
    path: str,
    folder: Path,
    others: Iterable[str],
) -> dict[str, Any]:
    parameters, open_ended = _parameters(factory, kind)
    for key in arguments:
        if key not in parameters and not open_ended:
            raise InputError(f"{path}.{key}: unknown key; {nearest(key, [*parameters, *others])}")
    nested = NESTED.get(kind, {})
    leaves = {key: value for key, value in arguments.items() if key not in nested}
    try:
        filled = arguments_model(factory, kind).model_validate(leaves).model_dump()
    except pydantic.ValidationError as error:
        raise InputError(first_error(error, path, leaves)) from None
    checked: dict[str, Any] = {}
    for key in [*parameters, *(key for key in arguments if key not in parameters)]:
        if key not in nested:
            if key in filled:
                checked[key] = filled[key]
            continue
        if arguments.get(key) is None:
            if parameters[key].default is inspect.Parameter.empty:
                raise InputError(f"{path}.{key}: missing; give a {nested[key]}")
            continue
        flat = kind == _WEIGHTED and key == "penalty"
        where = path if flat else f"{path}.{key}"
        beside = _BESIDE_PENALTY if flat else ()
        checked[key] = _check_nested(nested[key], arguments[key], where, folder, key in LISTS, beside)
    return checked


def _weighted(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Take a penalty's weight and schedule, which stand flat among its arguments, apart from it."""
    apart = {key: mapping[key] for key in _BESIDE_PENALTY if key in mapping}
    penalty = {key: entry for key, entry in mapping.items() if key not in apart}
    return {"name": "weighted", "penalty": penalty, **apart}


def _check_nested(
    kind: str, value: Any, path: str, folder: Path, many: bool, beside: Iterable[str]
) -> Slot | list[Slot]:
    if not many:
        return check_slot(kind, value, path, folder, beside)
    if not isinstance(value, list) or not value:
        raise InputError(f"{path}: {shorten(repr(value))} received; give a list of {kind}s")
    return [check_slot(kind, entry, f"{path}.{i}", folder) for i, entry in enumerate(value)]


def _parameters(factory: Any, kind: str) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments that YAML may set, and whether any other is taken too."""
    if not callable(factory):
        return {}, False
    found = dict(inspect.signature(factory).parameters)
    if kind == "prior" and is_function_of("n", factory):
        del found["n"]
        found["dim"] = inspect.Parameter("dim", inspect.Parameter.KEYWORD_ONLY)
    if kind == "schedule" and is_function_of("step", factory):
        del found["step"]
    if kind == "function":
        found = dict(list(found.items())[1:])
    if kind == "estimator" and is_function_of("z", factory):
        found = dict(list(found.items())[3:])
    open_ended = any(p.kind is p.VAR_KEYWORD for p in found.values())
    named = {
        key: p
        for key, p in found.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and key not in INJECTED[kind]
    }
    return named, open_ended


def is_function_of(argument: str, factory: Any) -> bool:
    """Log a function that is the thing itself from one that makes it, by its first argument.

    A prior is a function of n, a schedule one of step, an estimator one of z, y and kernel.
    """
    return inspect.isfunction(factory) and next(iter(inspect.signature(factory).parameters), "") == argument


@cache
def arguments_model(factory: Any, kind: str) -> type[pydantic.BaseModel]:
    """Return the pydantic model of the plain arguments of a factory.

    ``dim`` of a prior is optional, since the builder fills it in.
    """
    parameters, open_ended = _parameters(factory, kind)
    hints = _hints(factory)
    fields: dict[str, Any] = {}
    for key, parameter in parameters.items():
        if key in NESTED.get(kind, {}):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        default = list(default) if isinstance(default, tuple) else default
        hint = _without_tensors(hints.get(key, int if key == "dim" else Any))
        if kind == "prior" and key == "dim" and default is ...:
            hint, default = hint | None, None
        fields[key] = (hint, default)
    config = pydantic.ConfigDict(
        strict=True,
        extra="allow" if open_ended else "forbid",
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )
    return pydantic.create_model(f"{kind}_arguments", __config__=config, **fields)


def _hints(factory: Any) -> dict[str, Any]:
    """Return the types of a factory's arguments; none where Python cannot resolve them."""
    inner = factory.func if isinstance(factory, partial) else factory
    if inspect.isclass(inner):
        inner = inner.__init__
    elif not inspect.isroutine(inner):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner)
    except Exception:  # names that exist for type checkers alone
        return {}


def _without_tensors(hint: Any) -> Any:
    """Drop tensors and arrays from a union: YAML has none."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kept = [arm for arm in typing.get_args(hint) if arm is not Tensor]
        return typing.Union[tuple(_lists(arm) for arm in kept)]  # noqa: UP007 - built at run time
    return _lists(hint)


def _lists(hint: Any) -> Any:
    """Read every sequence as a list, which is what YAML has; a string is none."""
    if typing.get_origin(hint) is collections.abc.Sequence:
        return list[tuple(_lists(arm) for arm in typing.get_args(hint))]  # type: ignore[misc]
    return hint


def first_error(error: pydantic.ValidationError, path: str, value: Any) -> str:
    """Return pydantic's first complaint in one line: key path, value received, what was expected."""
    first = error.errors()[0]
    keys: list[str] = []
    for key in first["loc"]:
        missing = first["type"] in ("missing", "extra_forbidden") and isinstance(value, Mapping)
        if _has(value, key):
            value = value[key]
        elif not missing:
            break
        keys.append(str(key))
    where = ".".join([*([path] if path else []), *keys])
    if first["type"] == "missing":
        return f"{where}: missing; give a value"
    same = [e for e in error.errors() if e["loc"][: len(keys)] == first["loc"][: len(keys)]]
    expected = " or ".join(dict.fromkeys(e["msg"].removeprefix("Input should be ") for e in same))
    return f"{where}: {shorten(repr(value))} received; expected {expected}"


def _has(value: Any, key: int | str) -> bool:
    """Log whether a key path continues in the value; pydantic's paths also name union members."""
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, Mapping) and key in value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest known word, or all of them."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options) or 'none'}"


def _plain(value: Any) -> Any:
    if isinstance(value, Slot):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


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
