"""Slots: parts of a run that YAML names, with the arguments of each part next to its name.

A slot has a ``name`` from the catalogue or a ``target`` in the user's own code. Its other keys are the
arguments of the factory behind it: names, types, defaults and documentation come from the signature of that
factory. Pydantic checks a slot like any other field: `SlotOf` is the annotation that says how.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic_core import CoreSchema, core_schema

from mmdprior.config.catalogue import NAMES
from mmdprior.config.signature import Argument, signature_of
from mmdprior.config.targets import absolute_target, import_target
from mmdprior.config.validation import (
    OpenModel,
    StrictModel,
    check_known,
    first_error,
    folder_of,
    nearest,
    problem,
)
from mmdprior.errors import InputError, shorten

__all__ = ["Slot", "SlotOf", "arguments_model", "check_slot"]

_WEIGHTED = "weighted_regularizer"


@dataclass(frozen=True)
class Slot:
    """A checked slot: what to build, and with which arguments.

    Attributes:
        kind: kind of part: ``prior``, ``kernel`` and so on.
        name: its name in the catalogue, or None.
        target: the user's own factory as ``module:Object`` or ``file.py:object``, or None.
        arguments: plain values, slots, and lists of slots, by name.
        path: key path in the YAML file, for errors.
    """

    kind: str
    name: str | None
    target: str | None
    arguments: Mapping[str, Any]
    path: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """Its name in the catalogue, or the object of its target."""
        return self.name or str(self.target).rpartition(":")[2]

    def factory(self) -> Any:
        """Return the class or function behind the slot; a target is imported."""
        return NAMES[self.kind][self.name] if self.name is not None else import_target(str(self.target))

    def nested(self) -> Iterator["Slot"]:
        """Yield the slots among the arguments."""
        for value in self.arguments.values():
            entries = value if isinstance(value, list) else [value]
            yield from (entry for entry in entries if isinstance(entry, Slot))

    def at(self, path: str) -> "Slot":
        """Return the slot with a key path, and its nested slots with theirs."""

        def below(key: str, value: Any) -> Any:
            if isinstance(value, list):
                return [below(f"{key}.{i}", entry) for i, entry in enumerate(value)]
            if not isinstance(value, Slot):
                return value
            # The keys of a weighted penalty are written next to weight and schedule.
            return value.at(path if (self.kind, key) == (_WEIGHTED, "penalty") else f"{path}.{key}")

        arguments = {key: below(key, value) for key, value in self.arguments.items()}
        return replace(self, path=path, arguments=arguments)

    def to_dict(self) -> dict[str, Any]:
        """Return the slot as it is written in YAML, with every plain default filled in."""
        arguments = {key: _plain(value) for key, value in self.arguments.items()}
        if self.kind == _WEIGHTED:
            return {**arguments.pop("penalty"), **arguments}
        head = {"name": self.name} if self.name is not None else {"target": self.target}
        return {**head, **arguments}


def _plain(value: Any) -> Any:
    if isinstance(value, Slot):
        return value.to_dict()
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class SlotOf:
    """The annotation of a pydantic field that is a slot, as in ``Annotated[Slot, SlotOf("kernel")]``.

    Args:
        kind: kind of the slot.
        many: whether the field is a list of such slots, of type ``list[Slot]``.

    Example:
        >>> from typing import Annotated
        >>> import pydantic
        >>> from mmdprior.config.slots import Slot, SlotOf
        >>> class Section(pydantic.BaseModel):
        ...     kernel: Annotated[Slot, SlotOf("kernel")]
        >>> Section(kernel={"name": "imq", "scale": 2.0}).model_dump()
        {'kernel': {'name': 'imq', 'scale': 2.0, 'factors': [1.0]}}
    """

    kind: str
    many: bool = False

    @property
    def noun(self) -> str:
        """What a user gives for the slot, with its article."""
        word = self.kind.removeprefix("weighted_")
        if self.many:
            return f"a list of {word}s"
        return f"an {word}" if word[0] in "aeiou" else f"a {word}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        to_dict = core_schema.plain_serializer_function_ser_schema(Slot.to_dict)
        slot = core_schema.with_info_plain_validator_function(
            lambda value, info: self.check(value, folder_of(info)), serialization=to_dict
        )
        if not self.many:
            return slot
        return core_schema.no_info_before_validator_function(self._check_list, core_schema.list_schema(slot))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """Return a marker, which `json_schema` replaces by a reference to the definition of the kind."""
        marker = {"slot": self.kind}
        return {"type": "array", "items": marker} if self.many else marker

    def check(self, value: Any, folder: Path, others: Iterable[str] = ()) -> Slot:
        """Return a checked slot; nested slots are checked by pydantic.

        Args:
            value: the YAML value: a name, or a mapping with ``name`` or ``target``.
            folder: folder of the YAML file, where relative targets are looked up first.
            others: keys of the section around a flat slot, which the slot itself cannot have.

        Raises:
            PydanticCustomError: an unknown name or argument, or a target that cannot be used.
            ValidationError: arguments of another type.
        """
        if isinstance(value, Slot):
            return value
        if value is None:
            raise problem(f"null received; give {self.noun}")
        mapping = {"name": value} if isinstance(value, str) else value
        if not isinstance(mapping, Mapping):
            raise problem(f"{shorten(repr(value))} received; give a name, or a mapping with name or target")
        if self.kind == _WEIGHTED:
            mapping = _with_penalty(mapping, folder)
        name, target, factory = _choose(self.kind, mapping, folder)
        arguments = {key: entry for key, entry in mapping.items() if key not in ("name", "target")}
        signature = signature_of(factory, self.kind)
        if not signature.is_open:
            check_known(arguments, signature.arguments, others)
        hidden = [key for key in others if key in signature.arguments and signature.arguments[key].required]
        if hidden:
            raise problem(
                f"a key of the section, but also an argument of {target or name}; rename it", hidden[0]
            )
        model = arguments_model(factory, self.kind).model_validate(arguments, context={"folder": folder})
        absent = {key for key in signature.slots() if getattr(model, key) is None}
        return Slot(self.kind, name, target, {key: v for key, v in model if key not in absent})

    def _check_list(self, value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise problem(f"{shorten(repr(value))} received; give {self.noun}")
        return value


def check_slot(kind: str, value: object, path: str = "", folder: Path = Path()) -> Slot:
    """Check a slot, nested slots included, without building anything.

    Args:
        kind: kind of the slot.
        value: the YAML value: a name, or a mapping with ``name`` or ``target`` and arguments.
        path: key path, for errors; by default the kind.
        folder: folder of the YAML file, where relative targets are looked up first.

    Raises:
        InputError: an unknown name or argument, a value of another type, a target that cannot be imported,
            or a missing argument.

    Example:
        >>> from mmdprior.config.slots import check_slot
        >>> slot = check_slot("prior", {"name": "uniform", "low": -2.0})
        >>> slot.to_dict()
        {'name': 'uniform', 'dim': None, 'low': -2.0, 'high': 1.0}
        >>> check_slot("prior", {"name": "uniform", "lo": -2.0})
        Traceback (most recent call last):
        mmdprior.errors.InputError: prior.lo: unknown key; did you mean 'low'?
    """
    adapter = pydantic.TypeAdapter(Annotated[Slot, SlotOf(kind)])
    try:
        slot = adapter.validate_python(value, context={"folder": folder})
    except pydantic.ValidationError as error:
        raise InputError(first_error(error, value, path or kind)) from None
    return slot.at(path or kind)


@cache
def arguments_model(factory: Any, kind: str) -> type[StrictModel]:
    """Return the pydantic model of the arguments of a factory, nested slots included."""
    signature = signature_of(factory, kind)
    fields: dict[str, Any] = {name: _field(argument) for name, argument in signature.arguments.items()}
    base = OpenModel if signature.is_open else StrictModel
    return pydantic.create_model(f"{kind}_arguments", __base__=base, **fields)


def _field(argument: Argument) -> tuple[Any, Any]:
    """Return annotation and default of a pydantic field; an optional slot that is absent stays None."""
    hint, default = argument.hint, argument.default
    if argument.slot is not None:
        annotation = SlotOf(argument.slot, argument.many)
        hint = Annotated[list[Slot], annotation] if argument.many else Annotated[Slot, annotation]
        hint, default = (hint if argument.required else hint | None), None
    default = ... if argument.required else default
    return hint, pydantic.Field(default, description=argument.description or None)


def _with_penalty(mapping: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Move the keys of a penalty, which are written next to its weight and schedule, into ``penalty``."""
    (factory,) = NAMES[_WEIGHTED].values()
    plain = [key for key in signature_of(factory, _WEIGHTED).arguments if key != "penalty"]
    penalty = {key: entry for key, entry in mapping.items() if key not in plain}
    flat = {key: mapping[key] for key in plain if key in mapping}
    return {"name": "weighted", "penalty": SlotOf("regularizer").check(penalty, folder, plain), **flat}


def _choose(kind: str, mapping: Mapping[str, Any], folder: Path) -> tuple[str | None, str | None, Any]:
    """Return name, absolute target and factory of a slot; one of the first two is None."""
    name, target = mapping.get("name"), mapping.get("target")
    known = ", ".join(sorted(NAMES[kind]))
    if name is not None and target is not None:
        raise problem(f"name {name!r} and target {target!r} received; give one of them")
    if name is None and target is None:
        raise problem(f"missing; give one of {known}, or target" if known else "missing; give target", "name")
    if name is not None:
        if not isinstance(name, str) or name not in NAMES[kind]:
            hint = nearest(str(name), NAMES[kind]) if known else "give target"
            raise problem(f"{shorten(repr(name))} received; {hint}", "name")
        return name, None, NAMES[kind][name]
    if not isinstance(target, str):
        raise problem(f"{shorten(repr(target))} received; give 'module:Object' in quotes", "target")
    target = absolute_target(target, folder)
    return None, target, _import(kind, target)


def _import(kind: str, target: str) -> Any:
    """Return the object behind a target, checked to be a factory with a readable signature."""
    try:
        factory = import_target(target)
        signature_of(factory, kind)
    except InputError as error:
        raise problem(str(error).removeprefix("target: "), "target") from None
    except (TypeError, ValueError):
        raise problem(
            f"{target!r} has no signature that Python can read; wrap it in a function", "target"
        ) from None
    if not callable(factory) and kind != "prior":
        remedy = "give a class or a function"
        raise problem(f"{target!r} received, which is a {type(factory).__name__}; {remedy}", "target")
    return factory
