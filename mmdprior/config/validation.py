"""Strict pydantic models, and their errors in one line."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from mmdprior.errors import InputError, nearest, shorten

__all__ = [
    "OpenModel",
    "StrictModel",
    "check_known",
    "first_error",
    "folder_of",
    "nearest",
    "problem",
    "validate",
]

Model = TypeVar("Model", bound="StrictModel")

_SIZE = re.compile(r"(\w+) should have (at \w+ \d+ \w+) after validation, not \d+")


class StrictModel(pydantic.BaseModel):
    """A mapping with known keys: no other keys, no conversion of types, no NaN or infinity."""

    model_config = pydantic.ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_structure(cls, values: Any) -> Any:
        """Reject what is no mapping, unknown keys and missing keys, each with its remedy."""
        if not isinstance(values, Mapping):
            raise problem(f"{shorten(repr(values))} received; give a mapping")
        fields = {field.alias or key: field for key, field in cls.model_fields.items()}
        if cls.model_config["extra"] == "forbid":
            check_known(values, fields)
        for key, field in fields.items():
            if field.is_required() and key not in values:
                nouns = [part.noun for part in field.metadata if hasattr(part, "noun")]
                raise problem(f"missing; give {nouns[0] if nouns else 'a value'}", key)
        return values


class OpenModel(StrictModel):
    """A mapping that may have further keys, for a factory with ``**kwargs``."""

    model_config = pydantic.ConfigDict(extra="allow")


def validate(kind: type[Model], raw: Mapping[str, Any], path: str = "", folder: Path = Path()) -> Model:
    """Return a checked model.

    Args:
        kind: class of the model.
        raw: the mapping as read from YAML.
        path: key path of the mapping, for errors; empty for the top of a file.
        folder: folder of the YAML file, where relative targets are looked up first.

    Raises:
        InputError: the first error, in one line.
    """
    try:
        return kind.model_validate(raw, context={"folder": folder})
    except pydantic.ValidationError as error:
        raise InputError(first_error(error, raw, path)) from None


def folder_of(info: Any) -> Path:
    """Return the folder of the YAML file from the ``info`` that pydantic passes to a validator."""
    return (info.context or {}).get("folder", Path())


def problem(message: str, key: str = "") -> PydanticCustomError:
    """Return an error that a validator can raise.

    Args:
        message: value received and remedy, without the key path.
        key: the key in question below the value that is being validated; empty for that value itself.
    """
    return PydanticCustomError("problem", "{message}", {"message": message, "key": key})


def check_known(keys: Iterable[object], known: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise an error with the nearest known key unless every key is known.

    Args:
        keys: keys of a mapping.
        known: keys that it may have.
        others: keys next to them, which only the hint names.
    """
    options = list(known)
    for key in keys:
        if key not in options:
            raise problem(f"unknown key; {nearest(str(key), [*options, *others])}", str(key))


def first_error(error: pydantic.ValidationError, value: Any, path: str = "") -> str:
    """Return the first error of pydantic in one line: key path, value received, what was expected.

    Args:
        error: raised by pydantic.
        value: the input of the validation.
        path: key path of the input.
    """
    first = error.errors()[0]
    keys: list[str] = [path] if path else []
    depth = 0
    for key in first["loc"]:
        # Pydantic's locations also name the members of a union, which are no keys of the input.
        if not _has(value, key):
            continue
        value = value[key]
        keys.append(str(key))
        depth += 1
    if first["type"] == "problem":
        where = ".".join([*keys, *([first["ctx"]["key"]] if first["ctx"]["key"] else [])])
        return f"{where}: {first['ctx']['message']}"
    # A value that fits no member of a union gives one error per member.
    same = [other["msg"] for other in error.errors() if other["loc"][:depth] == first["loc"][:depth]]
    expected = " or ".join(dict.fromkeys(_expectation(message) for message in same))
    if "a valid string" in expected and isinstance(value, (bool, int, float, date)):
        expected += f"; put it in quotes: \"'{value}'\""
    return f"{'.'.join(keys)}: {shorten(repr(value))} received; expected {expected}"


def _expectation(message: str) -> str:
    """Return what pydantic expected, to follow the word "expected"."""
    size = _SIZE.fullmatch(message)
    if size:
        return f"a {size[1].lower()} of {size[2]}"
    message = message.replace("String should match pattern", "text that matches")
    return message.removeprefix("Input should be ")


def _has(value: Any, key: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, Mapping) and key in value
