"""A commented copy of a config: every key with its description, and defaults as comments."""

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmdprior.config.base import find_config, read_layers
from mmdprior.config.catalogue import NAMES
from mmdprior.config.load import make_config
from mmdprior.config.schema import SECTIONS, Config, ModelSection
from mmdprior.config.signature import signature_of
from mmdprior.config.slots import Slot

__all__ = ["commented"]

_WIDTH = 100
_USE = """
Check it with: mmdprior train FILE --dry-run
Train with:    mmdprior train FILE

Keys behind a #, such as #seed: 0, have their default value. Remove the # to change one."""


@dataclass(frozen=True)
class _Entry:
    """A key with its value.

    Attributes:
        key: the key.
        value: plain value.
        description: text above the key.
        active: whether the config sets the key; otherwise it is written as a comment.
        inner: entries of a mapping; None for a value on the line of the key.
    """

    key: str
    value: Any
    description: str
    active: bool
    inner: "list[_Entry] | None" = None


def commented(source: str | Path, name: str = "FILE") -> str:
    """Return a config as YAML text with a comment per key; the text is a valid config with the same settings.

    Args:
        source: a YAML config, or the name of a shipped one.
        name: name of the file that the text will have, for the commands in its first lines.

    Raises:
        InputError: there is no such config, or it is not valid.

    Example:
        >>> from mmdprior.config.template import commented
        >>> text = commented("quickstart")
        >>> "batch_size: 128" in text, "#learning_rate" in text, "#optimizer: adam" in text
        (True, False, True)
    """
    file = find_config(source)
    layers = read_layers(file)
    config = make_config(layers.content, file.parent, str(file), layers.places)
    about = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    head = [*about, *(f"# {line}".rstrip() for line in _USE.replace("FILE", name).splitlines())]
    return "\n".join([*head, "", *_lines(_top(config, layers.content), 0)]) + "\n"


def _top(config: Config, raw: Mapping[str, Any]) -> list[_Entry]:
    """Return the entries of the config itself: name, seed and sections."""
    resolved = config.to_dict()
    entries = []
    for key, field in Config.model_fields.items():
        section = SECTIONS.get(key)
        if section is None:
            entries.append(_Entry(key, resolved[key], field.description or "", key in raw))
        else:
            about = inspect.cleandoc(section.__doc__ or "").partition(": ")[2]
            inner = _section(key, config, raw.get(key) or {}, resolved[key])
            entries.append(_Entry(key, None, _sentence(about), True, inner))
    return entries


def _section(name: str, config: Config, raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[_Entry]:
    """Return the entries of a section: those of its flat slot, then its settings."""
    section = SECTIONS[name]
    slots, hidden = config.slots, {section.flat}
    entries = _slot(slots[name], raw) if section.flat is not None else []
    if section is ModelSection and "name" in raw:  # one part for both networks
        entries, hidden = _slot(slots["model.encoder"], raw), {"encoder", "decoder"}
    for key, field in section.model_fields.items():
        if key not in hidden:
            slot = slots.get(f"{name}.{key}")
            entries.append(_entry(key, slot, resolved[key], field.description or "", raw))
    return entries


def _slot(slot: Slot, raw: Mapping[str, Any]) -> list[_Entry]:
    """Return the entries of a slot: its name or target, then its arguments."""
    known = ", ".join(sorted(NAMES[slot.kind]))
    kind, value = ("name", slot.name) if slot.name is not None else ("target", slot.target)
    entries = [_Entry(kind, value, f"One of {known}, or target: file.py:object." if known else "", True)]
    arguments = signature_of(slot.factory(), slot.kind).arguments
    resolved = slot.to_dict()
    for key, part in slot.arguments.items():
        about = _sentence(arguments[key].description) if key in arguments else ""
        inner = part if isinstance(part, Slot) else None
        entries.append(_entry(key, inner, resolved[key], about, raw))
    return entries


def _entry(key: str, slot: Slot | None, value: Any, about: str, raw: Mapping[str, Any]) -> _Entry:
    """Return the entry of a key, which may be a slot."""
    active = key in raw
    inner = None
    if active and slot is not None:
        inner = _slot(slot, raw[key] if isinstance(raw[key], Mapping) else {})
    return _Entry(key, raw[key] if active and slot is None else value, about, active, inner)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lines(entries: list[_Entry], depth: int) -> Iterator[str]:
    """Yield the lines of entries."""
    pad = "  " * depth
    for entry in entries:
        about = " ".join(entry.description.replace("`", "").split())
        for line in textwrap.wrap(about, _WIDTH - len(pad)):
            yield f"{pad}# {line}"
        if entry.inner is not None:
            yield f"{pad}{entry.key}:"
            yield from _lines(entry.inner, depth + 1)
        else:
            flat = yaml.safe_dump(entry.value, default_flow_style=True, width=10**6, sort_keys=False)
            value = flat.removesuffix("...\n").strip()
            yield f"{pad}{'' if entry.active else '#'}{entry.key}: {value}"
        if depth == 0:
            yield ""
