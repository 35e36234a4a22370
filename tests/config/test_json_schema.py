"""The JSON schema for editors."""

import json

import pytest
from helpers import nested_targets

from mmdprior.config.catalogue import NAMES
from mmdprior.config.json_schema import _properties, json_schema
from mmdprior.config.signature import signature_of
from mmdprior.config.slots import arguments_model


@pytest.fixture(scope="module")
def schema():
    return json_schema()


def test_it_is_json_and_small(schema):
    text = json.dumps(schema)
    assert json.loads(text) == schema
    assert len(text) < 130_000


def test_every_key_of_every_section_is_documented(schema):
    for name, section in schema["properties"].items():
        for key, field in section.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind]])
def test_every_name_has_its_arguments(schema, kind, name):
    properties = schema["$defs"][f"{kind}.{name}"]["properties"]
    assert properties.keys() == {"name", *signature_of(NAMES[kind][name], kind).arguments}
    assert properties["name"] == {"const": name}


def test_nested_slots_refer_to_the_definition_of_their_kind(schema):
    definitions = schema["$defs"]
    assert definitions["regularizer.mmd"]["properties"]["prior"]["$ref"] == "#/$defs/prior"
    blocks = definitions["prior.product"]["properties"]["blocks"]
    assert blocks["items"] == {"$ref": "#/$defs/prior"}
    assert schema["properties"]["trainer"]["properties"]["schedule"]["$ref"] == "#/$defs/schedule"
    assert '"slot"' not in json.dumps(schema)


def test_every_reference_has_a_definition(schema):
    def references(value):
        if isinstance(value, list):
            return [name for entry in value for name in references(entry)]
        if not isinstance(value, dict):
            return []
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [name for entry in value.values() for name in references(entry)]

    names = {name.removeprefix("#/$defs/") for name in references(schema)}
    assert names <= schema["$defs"].keys()
    assert {"regularizer", "weighted_regularizer", "kernel.rbf"} <= names


def test_weight_and_schedule_are_keys_of_the_penalties_in_a_sum(schema):
    names, mapping = schema["$defs"]["weighted_regularizer"]["anyOf"]
    assert "kl" in names["enum"]
    assert mapping["properties"].keys() == {"weight", "schedule"}
    options = {option.get("$ref"): option for option in mapping["anyOf"]}
    allowed = options["#/$defs/regularizer.kl"]["propertyNames"]["enum"]
    assert {"weight", "schedule", "name", "capacity"} <= set(allowed)


def test_a_model_has_a_name_or_both_networks(schema):
    *named, networks = schema["properties"]["model"]["anyOf"]
    assert [variant["$ref"] for variant in named] == [
        f"#/$defs/encoder.{name}" for name in sorted(NAMES["encoder"])
    ]
    assert networks["required"] == ["encoder", "decoder"]
    assert "name" not in networks["propertyNames"]["enum"]


def test_targets_have_references_for_their_nested_slots():
    properties = _properties(arguments_model(nested_targets.Mixed, "regularizer"))
    assert properties["goal"] == {"$ref": "#/$defs/prior"}
    assert {"$ref": "#/$defs/kernel"} in properties["far"]["anyOf"]
    assert {"items": {"$ref": "#/$defs/kernel"}, "type": "array"} in properties["more"]["anyOf"]
    assert properties["strength"] == {"default": 1.0, "type": "number"}
