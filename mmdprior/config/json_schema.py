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
    properties |= {name: _section(section) for name, section in SECTIONS.items()}
    definitions = {
        f"{kind}.{name}": _definition(kind, name) for kind, names in NAMES.items() for name in sorted(names)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmdprior config",
        "type": "object",
        "properties": properties,
        "required": ["name", "data", "model", "regularizer", "trainer"],
        "additionalProperties": False,
        "$defs": {**definitions, **{kind: _slot(kind) for kind in NAMES}},
    }


def _section(section: type[Section]) -> dict[str, Any]:
    """Return a section, with the keys of its flat slot among its own."""
    keys = _properties(section)
    required = [key for key, field in section.model_fields.items() if field.is_required()]
    kind = None
    if section is ModelSection:
        kind, flat = "encoder", ["encoder", "decoder"]
    elif section.flat is not None:
        kind, flat = section.slot_of(section.flat).kind, [section.flat]
        del keys[section.flat]
    schema = {
        "type": "object",
        "description": inspect.cleandoc(section.__doc__ or ""),
        "properties": keys,
        "required": required if kind is None else [key for key in required if key not in flat],
    }
    if kind is None:
        return {**schema, "additionalProperties": False}
    variants = _variants(kind, keys)
    if section is ModelSection:  # a target stands for one network, so a model has two in place of a name
        variants["anyOf"][-1] = {"required": flat, "propertyNames": {"enum": list(keys)}}
    return {**schema, **variants}


def _slot(kind: str) -> dict[str, Any]:
    """Return every form of a slot: a name, or a mapping with a name or a target."""
    keys: dict[str, Any] = {}
    if kind == "weighted_regularizer":
        keys = _properties(arguments_model(NAMES[kind]["weighted"], kind))
        del keys["penalty"]
        kind = "regularizer"
    mapping = {"type": "object", "properties": keys, **_variants(kind, keys)}
    return {"anyOf": [{"enum": sorted(NAMES[kind])}, mapping]} if NAMES[kind] else mapping


def _variants(kind: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return one variant per name, which also allows other keys, and one for targets."""
    variants: list[dict[str, Any]] = []
    for name, factory in sorted(NAMES[kind].items()):
        allowed = [*keys, "name", *arguments_model(factory, kind).model_fields]
        variants.append({"$ref": f"#/$defs/{kind}.{name}", "propertyNames": {"enum": allowed}})
    return {"anyOf": [*variants, {"properties": {"target": _TARGET}, "required": ["target"]}]}


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
    return {key: _with_references(value, models) for key, value in schema.items()}
