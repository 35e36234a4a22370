"""The JSON schema of a plan, for editors."""

from typing import Any

from mmdprior.runs.plan import PlanSection, RunSection

__all__ = ["plan_schema"]


def plan_schema() -> dict[str, Any]:
    """Return the schema of studies and sweeps: their keys with types, defaults and descriptions.

    Example:
        >>> from mmdprior.runs.plan_schema import plan_schema
        >>> list(plan_schema()["properties"])
        ['config', 'overrides', 'seeds', 'name', 'runs', 'grid', 'list']
    """
    run = _plain(RunSection.model_json_schema())
    plan = _plain(PlanSection.model_json_schema(by_alias=True))
    one_run = {"anyOf": [{"type": "string", "description": "YAML config"}, run]}
    values = {"type": "array", "minItems": 1}
    properties = plan["properties"]
    properties["runs"] |= {"type": "object", "minProperties": 1, "additionalProperties": one_run}
    properties["grid"] |= {"type": "object", "minProperties": 1, "additionalProperties": values}
    properties["list"] |= {"type": "array", "minItems": 1, "items": {"type": "object"}}
    for name in ("runs", "grid", "list"):
        del properties[name]["anyOf"]
    is_study, is_sweep = {"required": ["runs"]}, {"anyOf": [{"required": ["grid"]}, {"required": ["list"]}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmdprior plan",
        **plan,
        "oneOf": [{"title": "study", **is_study}, {"title": "sweep", **is_sweep}],
    }


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the titles of pydantic, which repeat the keys, and without null defaults."""
    properties = {
        key: {
            name: value
            for name, value in entry.items()
            if name != "title" and (name, value) != ("default", None)
        }
        for key, entry in schema["properties"].items()
    }
    return {**{k: v for k, v in schema.items() if k != "title"}, "properties": properties}
