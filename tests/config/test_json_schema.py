"""The JSON schema for editors."""

import json

import pytest
import yaml
from helpers import nested_targets
from helpers.configs import SMALL, changed

from mmdprior.config.base import shipped_folder
from mmdprior.config.catalogue import NAMES
from mmdprior.config.json_schema import _properties, json_schema
from mmdprior.config.signature import signature_of
from mmdprior.config.slots import arguments_model
from mmdprior.runs.plan import is_plan


@pytest.fixture(scope="module")
def schema():
    return json_schema()


def test_it_is_json_and_small(schema):
    text = json.dumps(schema)
    assert json.loads(text) == schema
    assert len(text) < 220_000


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
    slot = schema["$defs"]["weighted_regularizer"]
    assert "kl" in slot["then"]["enum"]
    mapping = slot["else"]
    assert mapping["properties"].keys() == {"name", "target", "weight", "schedule"}
    parts = {part["then"]["$ref"]: part["then"] for part in mapping["allOf"]}
    allowed = parts["#/$defs/regularizer.kl"]["propertyNames"]["enum"]
    assert {"weight", "schedule", "name", "capacity"} <= set(allowed)


def test_a_model_has_a_name_or_both_networks(schema):
    model = schema["properties"]["model"]
    assert [part["then"]["$ref"] for part in model["allOf"]] == [
        f"#/$defs/encoder.{name}" for name in sorted(NAMES["encoder"])
    ]
    assert schema["else"]["properties"]["model"]["then"] == {"required": ["encoder", "decoder"]}


class TestInAnEditor:
    """What a validator reports, in place of an error per member of a union."""

    @pytest.fixture(scope="class")
    def errors(self, schema):
        jsonschema = pytest.importorskip("jsonschema", reason="validates schemas in tests")
        validator = jsonschema.Draft202012Validator(schema)

        def errors(config):
            reported = validator.iter_errors(config)
            return [(".".join(map(str, error.absolute_path)), error.message) for error in reported]

        return errors

    def test_shipped_configs_are_valid(self, errors):
        for path in sorted(shipped_folder().rglob("*.yaml")):
            raw = yaml.safe_load(path.read_text())
            if not is_plan(raw):
                raw = {"base": "x.yaml", **raw} if path.stem == "base" else raw
                assert errors(raw) == [], path

    @pytest.mark.parametrize(
        ("path", "value", "where", "text"),
        [
            ("regularizer.name", "mmdd", "regularizer.name", "'mmdd' is not one of ['beta_tc'"),
            ("regularizer.prior", "gausian", "regularizer.prior", "'gausian' is not one of ['affine'"),
            ("regularizer.prior.low", -2, "regularizer.prior", "'low' is not one of ['name', 'dim'"),
            (
                "regularizer.kernel",
                {"name": "rbf", "lengthscal": 1},
                "regularizer.kernel",
                "'lengthscal' is not one of ['name'",
            ),
            ("regularizer.kernel", {"lengthscale": 1}, "regularizer.kernel", "is not valid under any of"),
            ("model.hiden", [8], "model", "'hiden' is not one of"),
            ("model.name", None, "model", "'encoder' is a required property"),
            ("trainer.steps", "many", "trainer.steps", "'many' is not of type 'integer'"),
            ("trainer.step", 3, "trainer", "('step' was unexpected)"),
            ("trainer.steps", None, "trainer", "'steps' is a required property"),
            ("data.images", "x", "data.images", "'x' is not of type 'integer'"),
        ],
    )
    def test_the_first_error_names_the_key_and_what_is_known(self, errors, path, value, where, text):
        assert errors(SMALL) == []
        reported = errors(changed(path, value))
        assert any(place == where and text in message for place, message in reported), reported
        assert len(reported) <= 2

    def test_a_config_with_a_base_states_only_what_differs(self, errors):
        assert errors({"base": "x.yaml", "model": {"posterior": "gaussian"}}) == []
        assert errors({"base": ["x.yaml", "y.yaml"], "trainer": {"steps": 1}}) == []
        assert errors({"base": 3}) != []


def test_targets_have_references_for_their_nested_slots():
    properties = _properties(arguments_model(nested_targets.Mixed, "regularizer"))
    assert properties["goal"] == {"$ref": "#/$defs/prior"}
    assert properties["far"]["then"] == {"$ref": "#/$defs/kernel"}
    assert properties["more"]["items"] == {"$ref": "#/$defs/kernel"}
    assert properties["more"]["type"] == ["array", "null"]
    assert properties["strength"] == {"default": 1.0, "type": "number"}
