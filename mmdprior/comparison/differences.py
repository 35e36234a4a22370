"""What differs between configs, found and named; the rest is what they share."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["MACHINE", "brief", "differences", "fingerprint", "shared"]

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
"""Settings of where and how a run is kept, not of what it computes."""

_SELF = ("name", "seed")


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return a string that is equal for configs that compute the same but for name and seed."""
    kept = {
        section: {k: v for k, v in value.items() if f"{section}.{k}" not in MACHINE}
        if isinstance(value, Mapping)
        else value
        for section, value in config.items()
        if section not in _SELF
    }
    return json.dumps(kept, sort_keys=True, default=str)


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys whose values differ, each with one value a config, in the order of the configs' keys.

    A slot whose name differs is one difference, with all its arguments; of slots of one name the arguments
    are compared. A key that a config lacks is None. What concerns the machine alone is left out.
    """
    found: dict[str, list[Any]] = {}
    _compare("", list(configs), found)
    return {path: values for path, values in found.items() if path not in _SELF and path not in MACHINE}


def shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the part that all configs have in common, nested as they are."""
    return _common(list(configs)) if configs else {}


def brief(value: Any) -> str:
    """Return a value of a config on one line: ``mmd(kernel=wae_imq, prior=gaussian)``.

    Arguments left at null are not shown.
    """
    if isinstance(value, Mapping):
        rest = {k: v for k, v in value.items() if k not in ("name", "target") and v is not None}
        inside = ", ".join(f"{key}={brief(entry)}" for key, entry in rest.items())
        title = value.get("name") or str(value.get("target") or "").rpartition(":")[2]
        return f"{title}({inside})" if inside or not title else str(title)
    if isinstance(value, list):
        return f"[{', '.join(brief(entry) for entry in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)


def _compare(path: str, values: list[Any], found: dict[str, list[Any]]) -> None:
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, Mapping) for value in values):
        if len({_title(value) for value in values}) == 1 or not path:
            _each(path, values, found)
            return
        if "." not in path:  # a section: what some lack are arguments of its slot
            common = set.intersection(*(set(value) for value in values)) - {"name", "target"}
            found[path] = [{k: v for k, v in value.items() if k not in common} for value in values]
            _each(path, [{k: v for k, v in value.items() if k in common} for value in values], found)
            return
    if _lists_of_alike(values):
        for place, entries in enumerate(zip(*values, strict=True)):
            _compare(f"{path}[{_name_of(entries[0], place)}]", list(entries), found)
        return
    found[path] = values


def _lists_of_alike(values: list[Any]) -> bool:
    """Return whether all values are lists of slots, of one length and of the same names."""
    if not all(isinstance(value, list) and value for value in values):
        return False
    titles = {tuple(_title(v) if isinstance(v, Mapping) else None for v in value) for value in values}
    return len(titles) == 1 and None not in next(iter(titles))


def _name_of(slot: Mapping[str, Any], place: int) -> str:
    return str(slot.get("name") or place)


def _each(path: str, values: list[Any], found: dict[str, list[Any]]) -> None:
    for key in dict.fromkeys(key for value in values for key in value):
        _compare(f"{path}.{key}" if path else str(key), [value.get(key) for value in values], found)


def _title(value: Mapping[str, Any]) -> Any:
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
