"""The JSON schema of a config, for editors."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from mmdprior.config.catalogue import NAMES
from mmdprior.config.schema import SECTIONS, Config, ModelSection, Section
from mmdprior.config.signature import signature_of
from mmdprior.config.slots import arguments_model

__all__ = ["json_schema"]

_TARGET = {
    "type": "string",
    "pattern": ":",
    "description": "package.module:Object or path/to/file.py:object",
}
_BASE = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "YAML config with the settings that this one does not state; of several, later ones win.",
}
_PART = {"anyOf": [{"required": ["name"]}, {"required": ["target"]}]}
_NETWORKS = ("encoder", "decoder")


def json_schema() -> dict[str, Any]:
    """Return the schema: sections with their documented keys, and slots with the arguments of every name.

    Every name has one definition, such as ``prior.uniform``. A slot refers to the definitions of its kind.

    Example:
        >>> from mmdprior.config.json_schema import json_schema
        >>> schema = json_schema()
        >>> schema["properties"]["trainer"]["properties"]["steps"]["description"]
        'Number of updates; 0 records the model without training.'
        >>> list(schema["$defs"]["prior.uniform"]["properties"])
        ['name', 'dim', 'low', 'high']
    """
    properties = _properties(Config)
    properties["base"] = _BASE
    properties |= {name: _section(section) for name, section in SECTIONS.items()}
    definitions = {
        f"{kind}.{name}": _definition(kind, name) for kind, names in NAMES.items() for name in sorted(names)
    }
    complete = {
        "required": ["name", "data", "model", "regularizer", "trainer"],
        "properties": {name: _required(section) for name, section in SECTIONS.items()},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmdprior config",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "if": {"required": ["base"]},  # a config with a base states only what differs
        "else": complete,
        "$defs": {**definitions, **{kind: _slot(kind) for kind in NAMES}},
    }


def _section(section: type[Section]) -> dict[str, Any]:
    """Return a section, with the keys of its flat slot among its own."""
    keys = _properties(section)
    keys.pop(section.flat or "", None)
    schema = {"type": "object", "description": inspect.cleandoc(section.__doc__ or ""), "properties": keys}
    kind = _flat_kind(section)
    if kind is None:
        return {**schema, "additionalProperties": False}
    slot = _mapping(kind, keys)
    slot["properties"] = {**slot["properties"], **keys}
    return {**schema, **slot}


def _required(section: type[Section]) -> dict[str, Any]:
    """Return what a section needs in a config without a base."""
    flat = [*_NETWORKS] if section is ModelSection else [section.flat]
    required = [key for key, field in section.model_fields.items() if field.is_required() and key not in flat]
    if section is ModelSection:
        return {"required": required, "if": _without("name"), "then": {"required": flat}}
    return {"required": required, **(_PART if section.flat else {})}


def _flat_kind(section: type[Section]) -> str | None:
    """Return the kind of the slot whose keys are among those of a section."""
    if section is ModelSection:
        return "encoder"
    return None if section.flat is None else section.slot_of(section.flat).kind


def _slot(kind: str) -> dict[str, Any]:
    """Return every form of a slot: a name, or a mapping with a name or a target."""
    keys: dict[str, Any] = {}
    if kind == "weighted_regularizer":
        keys = _properties(arguments_model(NAMES[kind]["weighted"], kind))
        del keys["penalty"]
        kind = "regularizer"
    mapping = {"type": "object", **_mapping(kind, keys), **_PART}
    mapping["properties"] |= keys
    if not NAMES[kind]:
        return mapping
    return {"if": {"type": "string"}, "then": {"enum": sorted(NAMES[kind])}, "else": mapping}


def _mapping(kind: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a part and its arguments: the name decides which ones there are.

    An editor then reports the wrong argument, and not that the mapping fits none of all parts.

    Args:
        kind: kind of the slot.
        keys: further keys, next to the arguments.
    """
    arguments = []
    for name, factory in sorted(NAMES[kind].items()):
        allowed = [*keys, "name", *arguments_model(factory, kind).model_fields]
        part = {"$ref": f"#/$defs/{kind}.{name}", "propertyNames": {"enum": allowed}}
        named = {"properties": {"name": {"const": name}}, "required": ["name"]}
        arguments.append({"if": named, "then": part})
    about = "Name of the part; its arguments follow on the same level."
    names = {"name": {"enum": sorted(NAMES[kind]), "description": about}} if NAMES[kind] else {}
    return {"properties": {**names, "target": _TARGET}, "allOf": arguments}


def _without(key: str) -> dict[str, Any]:
    return {"not": {"required": [key]}}


def _definition(kind: str, name: str) -> dict[str, Any]:
    """Return the definition of a name: its arguments with types, defaults and documentation."""
    factory = NAMES[kind][name]
    return {
        "type": "object",
        "title": name,
        "description": signature_of(factory, kind).description,
        "properties": {"name": {"const": name}, **_properties(arguments_model(factory, kind))},
        "required": ["name"],
    }


def _properties(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Return the keys of a model, with references for slots."""
    schema = model.model_json_schema()
    properties: dict[str, Any] = _with_references(schema["properties"], schema.get("$defs", {}))
    for schema in properties.values():
        schema.pop("title", None)  # pydantic's titles repeat the keys
    return properties


def _with_references(schema: Any, models: Mapping[str, Any]) -> Any:
    """Replace the markers that `SlotOf` leaves by references to the definition of the kind.

    Args:
        schema: part of a schema from pydantic.
        models: schemas of nested models, such as ``model.flow_fit``, which are put in place of their names.
    """
    if isinstance(schema, list):
        return [_with_references(entry, models) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    model = models.get(str(schema.get("$ref")).removeprefix("#/$defs/"))
    if model is not None:
        schema = {**model, **{key: value for key, value in schema.items() if key != "$ref"}}
    if isinstance(schema.get("slot"), str):
        schema = {"$ref": f"#/$defs/{schema['slot']}", **{k: v for k, v in schema.items() if k != "slot"}}
    return _without_unions({key: _with_references(value, models) for key, value in schema.items()})


def _without_unions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without ``anyOf``, where possible: editors report only that no member of it fits."""
    members = schema.get("anyOf")
    if members is None:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if all(isinstance(member.get("type"), str) for member in members):
        others = [{key: value for key, value in member.items() if key != "type"} for member in members]
        merged = {key: value for other in others for key, value in other.items()}
        # No key has two values, and none restricts the values of another type.
        if sum(map(len, others)) == len(merged) and not merged.keys() & {"const", "enum"}:
            return {"type": [member["type"] for member in members], **merged, **rest}
    not_null = [member for member in members if member != {"type": "null"}]
    if len(not_null) == 1:
        return {"if": {"not": {"type": "null"}}, "then": not_null[0], **rest}
    return schema
