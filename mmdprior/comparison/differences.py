"""Compare the configs of runs: settings that differ, and settings that all share.

A slot is a setting that names an implementation: a mapping with a ``name`` (or a ``target``, an import path)
and the arguments of that implementation, such as ``{"name": "kl", "capacity": 5.0}``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmdprior.runs.defaults import with_defaults, without_defaults
from mmdprior.runs.rows import MACHINE_SETTINGS, portable

__all__ = ["MACHINE_SETTINGS", "differences", "fingerprint", "setting_text", "shared_settings"]

_IDENTITY = ("name", "seed")
"""Settings that distinguish runs of the same experiment."""


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return a string that is equal for configs that differ only in name, seed and machine settings."""
    compared = {k: v for k, v in portable(with_defaults(config)).items() if k not in _IDENTITY}
    return json.dumps(compared, sort_keys=True, default=str)


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that differ: dotted path -> one value per config.

    Slots with the same name are compared argument by argument. Slots with different names count as one
    difference, whose values are the whole slots. Settings that all configs have next to the slot in a
    section, such as the weight of the regularizer, are still compared one by one. The value is None for a
    config without the setting. Name, seed and settings of the machine are left out (`portable`).

    Args:
        configs: resolved configs as nested mappings.

    Example:
        >>> from mmdprior.comparison.differences import differences
        >>> vae = {"model": {"latent_dim": 10}, "regularizer": {"name": "kl", "weight": 1.0}}
        >>> beta_vae = {"model": {"latent_dim": 10}, "regularizer": {"name": "kl", "weight": 4.0}}
        >>> differences([vae, beta_vae])
        {'regularizer.weight': [1.0, 4.0]}
    """
    values: dict[str, list[Any]] = {}
    _compare("", [portable(with_defaults(config)) for config in configs], values)
    return {path: v for path, v in values.items() if path not in _IDENTITY}


def shared_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all configs have in common, as a nested mapping."""
    return _common(list(configs)) if configs else {}


def setting_text(value: Any) -> str:
    """Format the value of a setting as one line of text, without arguments that are None or the default.

    Example:
        >>> from mmdprior.comparison.differences import setting_text
        >>> setting_text({"name": "mmd", "prior": {"name": "uniform", "low": -2.0, "high": 1.0}, "queue": 0})
        'mmd(prior=uniform(low=-2))'
    """
    if isinstance(value, Mapping):
        value = without_defaults(value)
        hidden = ("name", "target", "spec")  # spec lists the parts of a saved flow
        arguments = {k: v for k, v in value.items() if k not in hidden and v is not None}
        arguments_text = ", ".join(f"{key}={setting_text(v)}" for key, v in arguments.items())
        name = value.get("name") or str(value.get("target") or "").rpartition(":")[2]
        return f"{name}({arguments_text})" if arguments_text or not name else str(name)
    if isinstance(value, list):
        return f"[{', '.join(setting_text(entry) for entry in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)


def _compare(path: str, values: list[Any], result: dict[str, list[Any]]) -> None:
    """Add the differences between the values at ``path`` to ``result``.

    Args:
        path: dotted path of the values; empty for whole configs.
        values: one value per config.
        result: dictionary that is filled, path -> one value per config.
    """
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, Mapping) for value in values):
        # Equal for slots with the same implementation, and for mappings that are not slots.
        if len({_slot_name(value) for value in values}) == 1 or not path:
            _compare_keys(path, values, result)
            return
        if "." not in path:
            # A section whose slots differ. Keys that all sections have (such as the weight) are compared one
            # by one. The other keys are arguments of the slots.
            common = set.intersection(*(set(value) for value in values)) - {"name", "target"}
            result[path] = [{k: v for k, v in value.items() if k not in common} for value in values]
            _compare_keys(path, [{k: v for k, v in value.items() if k in common} for value in values], result)
            return
    if _same_slots_in_order(values):
        for index, entries in enumerate(zip(*values, strict=True)):
            name = entries[0].get("name") or index
            _compare(f"{path}[{name}]", list(entries), result)
        return
    result[path] = values


def _compare_keys(path: str, values: list[Any], result: dict[str, list[Any]]) -> None:
    """Compare mappings key by key, over all keys that any of them has."""
    for key in dict.fromkeys(key for value in values for key in value):
        _compare(f"{path}.{key}" if path else str(key), [value.get(key) for value in values], result)


def _same_slots_in_order(values: list[Any]) -> bool:
    """Return whether all values are lists of slots, with the same names in the same order."""
    if not all(isinstance(value, list) and value for value in values):
        return False
    names = {tuple(_slot_name(v) if isinstance(v, Mapping) else None for v in value) for value in values}
    return len(names) == 1 and None not in next(iter(names))


def _slot_name(value: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return name and target of a slot; (None, None) for other mappings."""
    return value.get("name"), value.get("target")


def _common(values: list[Any]) -> dict[str, Any]:
    """Return the entries that are equal in all mappings, including those of nested mappings."""
    common: dict[str, Any] = {}
    for key, first in values[0].items():
        entries = [value.get(key) for value in values]
        if all(entry == first for entry in entries):
            common[key] = first
        elif all(isinstance(entry, Mapping) for entry in entries):
            nested = _common(entries)
            if nested:
                common[key] = nested
    return common
