"""Defaults in stored configs: filled in to compare runs of several releases, left out to describe runs."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from mmdprior.build.restore import config_of
from mmdprior.config.catalogue import NAMES
from mmdprior.config.signature import signature_of
from mmdprior.errors import InputError

__all__ = ["with_defaults", "without_defaults"]

_AROUND = frozenset({"name", "weight", "schedule"})
"""Keys next to the arguments of a penalty in a sum."""


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored config with the defaults of settings that later releases added.

    A config that names targets, whose code must not run, and one that is not valid any more stay as they are.

    Args:
        config: resolved config of a run, nested.

    Example:
        >>> from mmdprior.runs.defaults import with_defaults
        >>> with_defaults({"name": "vae"})
        {'name': 'vae'}
    """
    try:
        text = json.dumps(config, sort_keys=False)
    except (TypeError, ValueError):
        return dict(config)
    return json.loads(_completed(text))


@cache
def _completed(text: str) -> str:
    try:
        return json.dumps(config_of({"config": json.loads(text)}, "", trust=False).to_dict())
    except InputError:
        return text


def without_defaults(value: Any) -> Any:
    """Return a part of a config in which every slot has only the arguments that differ from their defaults.

    Args:
        value: a slot, a value that contains slots, or any other value, which is returned as it is.

    Example:
        >>> from mmdprior.runs.defaults import without_defaults
        >>> without_defaults({"name": "uniform", "dim": None, "low": -2.0, "high": 1.0})
        {'name': 'uniform', 'low': -2.0}
    """
    if isinstance(value, list):
        return [without_defaults(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    defaults = _defaults(value)
    return {
        key: without_defaults(entry)
        for key, entry in value.items()
        if key not in defaults or entry != defaults[key]
    }


def _defaults(slot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the arguments of a part; none for a mapping that is no part."""
    for kind, names in NAMES.items():
        factory = names.get(str(slot.get("name")))
        if factory is None:
            continue
        arguments = signature_of(factory, kind).arguments
        if slot.keys() <= arguments.keys() | _AROUND:
            return {key: _plain(part.default) for key, part in arguments.items() if not part.required}
    return {}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default
