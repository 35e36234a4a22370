"""Settings in which resolved configs differ, and those that they share."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["MACHINE", "differences", "fingerprint", "setting_text", "shared_settings"]

MACHINE = frozenset(
    {
        "data.resident",
        "data.root",
        "data.workers",
        "evaluation.pictures",
        "trainer.checkpoint_every",
        "trainer.device",
        "trainer.keep_every",
        "trainer.keep_last",
        "trainer.log_every",
    }
)
"""Settings of where a run computes and what it keeps, which do not change what it computes."""

_IDENTITY = ("name", "seed")
"""Settings that identify a run among runs of the same configuration."""


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return a string that is equal for configs that differ only in name, seed and machine settings."""
    kept = {
        section: {k: v for k, v in value.items() if f"{section}.{k}" not in MACHINE}
        if isinstance(value, Mapping)
        else value
        for section, value in config.items()
        if section not in _IDENTITY
    }
    return json.dumps(kept, sort_keys=True, default=str)


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that differ, by path, with one value per config.

    Slots with different names count as one difference, whose value is the slot with all its arguments. Slots
    with the same name are compared argument by argument. The value is None for a config without the setting.
    Name, seed and settings of the machine are left out.

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
    _compare("", list(configs), values)
    return {path: v for path, v in values.items() if path not in _IDENTITY and path not in MACHINE}


def shared_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all configs have in common, as a nested mapping."""
    return _common(list(configs)) if configs else {}


def setting_text(value: Any) -> str:
    """Return the value of a setting on one line; arguments that are None are left out.

    Example:
        >>> from mmdprior.comparison.differences import setting_text
        >>> setting_text({"name": "mmd", "prior": {"name": "uniform", "low": -1.0}, "weight": None})
        'mmd(prior=uniform(low=-1))'
    """
    if isinstance(value, Mapping):
        arguments = {k: v for k, v in value.items() if k not in ("name", "target") and v is not None}
        inside = ", ".join(f"{key}={setting_text(argument)}" for key, argument in arguments.items())
        title = value.get("name") or str(value.get("target") or "").rpartition(":")[2]
        return f"{title}({inside})" if inside or not title else str(title)
    if isinstance(value, list):
        return f"[{', '.join(setting_text(entry) for entry in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)


def _compare(path: str, values: list[Any], result: dict[str, list[Any]]) -> None:
    """Add the differences of the values at a path to ``result``."""
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, Mapping) for value in values):
        if len({_slot_name(value) for value in values}) == 1 or not path:
            _compare_keys(path, values, result)
            return
        if "." not in path:
            # A section with different slots: keys that all have (such as the weight) are compared one by
            # one; the others are arguments of the slots.
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
    for key in dict.fromkeys(key for value in values for key in value):
        _compare(f"{path}.{key}" if path else str(key), [value.get(key) for value in values], result)


def _same_slots_in_order(values: list[Any]) -> bool:
    """Return whether all values are lists of slots of equal length with the same names in the same order."""
    if not all(isinstance(value, list) and value for value in values):
        return False
    names = {tuple(_slot_name(v) if isinstance(v, Mapping) else None for v in value) for value in values}
    return len(names) == 1 and None not in next(iter(names))


def _slot_name(value: Mapping[str, Any]) -> Any:
    return value.get("name"), value.get("target")


def _common(values: list[Any]) -> dict[str, Any]:
    common: dict[str, Any] = {}
    for key, first in values[0].items():
        entries = [value.get(key) for value in values]
        if all(entry == first for entry in entries):
            common[key] = first
        elif all(isinstance(entry, Mapping) for entry in entries):
            inside = _common(entries)
            if inside:
                common[key] = inside
    return common
