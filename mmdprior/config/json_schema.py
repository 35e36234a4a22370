"""The JSON schema of a config, for editors."""

import inspect
from collections.abc import Mapping
from typing import Any

import pydantic

from mmdprior.config.catalogue import LISTS, NAMES, NESTED
from mmdprior.config.schema import SECTIONS, Section, TopSection
from mmdprior.config.slots import arguments_model

__all__ = ["json_schema"]

_TARGET = {
    "type": "string",
    "pattern": ":",
    "description": "package.module:Object or path/to/file.py:object",
}


def json_schema() -> dict[str, Any]:
    """Return the schema: sections with their documented fields, slots with the arguments of each name."""
    properties = dict(TopSection.model_json_schema()["properties"])
    for name, section in SECTIONS.items():
        properties[name] = _section(section)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmdprior config",
        "type": "object",
        "properties": properties,
        "required": ["name", "data", "model", "regularizer", "trainer"],
        "additionalProperties": False,
        "$defs": {kind: {"anyOf": _any_of(kind)} for kind in NAMES},
    }


def _section(section: type[Section]) -> dict[str, Any]:
    """Return one section; where a slot stands flat in it, one variant a name."""
    plain = section.model_json_schema()
    own = dict(plain["properties"])
    for key, kind in section.slots.items():
        own[key] = {"$ref": f"#/$defs/{kind}", "description": own[key].get("description", "")}
    base = {"type": "object", "description": inspect.cleandoc(section.__doc__ or "")}
    required = plain.get("required", [])
    if section.own_slot is None:
        return {**base, "properties": own, "required": required, "additionalProperties": False}
    return {**base, "required": required, "anyOf": _variants(section.own_slot, own)}


def _any_of(kind: str) -> list[dict[str, Any]]:
    """Return every form of a slot; a penalty of a sum has its weight and schedule beside its arguments."""
    if kind != "weighted_regularizer":
        return [*_short(kind), *_variants(kind, {})]
    beside = {"weight": {"type": "number", "minimum": 0}, "schedule": {"$ref": "#/$defs/schedule"}}
    return [*_short("regularizer"), *_variants("regularizer", beside)]


def _short(kind: str) -> list[dict[str, Any]]:
    return [{"enum": sorted(NAMES[kind])}] if NAMES[kind] else []


def _variants(kind: str, beside: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one object a name, with its arguments, and one for targets."""
    variants = [
        {
            "type": "object",
            "title": name,
            "description": inspect.getdoc(factory) or "",
            "properties": {**beside, "name": {"const": name}, **_arguments(kind, factory)},
            "required": ["name"],
            "additionalProperties": False,
        }
        for name, factory in sorted(NAMES[kind].items())
    ]
    target = {"type": "object", "properties": {**beside, "target": _TARGET}, "required": ["target"]}
    return [*variants, target]


def _arguments(kind: str, factory: Any) -> dict[str, Any]:
    try:
        plain = arguments_model(factory, kind).model_json_schema()
    except pydantic.PydanticUserError:
        plain = {}
    found = dict(plain.get("properties", {}))
    for key in inspect.signature(factory).parameters:
        if key in NESTED.get(kind, {}):
            reference = {"$ref": f"#/$defs/{NESTED[kind][key]}"}
            found[key] = {"type": "array", "items": reference} if key in LISTS else reference
    return found
