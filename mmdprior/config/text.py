"""YAML text to plain values: safely, and with errors in one line."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mmdprior.errors import InputError

__all__ = ["check_keys", "parse_value", "read_mapping"]


_INT = "tag:yaml.org,2002:int"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys, and reads 1e-3, 010 and 1:30 as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a duplicate key raises `InputError`."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise InputError(f"line {line}: duplicate key {key!r} received; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Return an integer; a leading zero does not make it octal."""
        text = self.construct_scalar(node).replace("_", "")
        return int(text, 16) if "x" in text else int(text)


# The integers of YAML 1.1, which PyYAML implements, include 010 for 8 and 1:30 for 90.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_constructor(_INT, _StrictLoader.construct_integer)
_StrictLoader.add_implicit_resolver(
    _INT, re.compile(r"^[-+]?([0-9][0-9_]*|0x[0-9a-fA-F_]+)$"), list("-+0123456789")
)
# YAML 1.1 reads 1e-3 as text.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Load a YAML file of sections, safely, without checks of its content.

    Args:
        path: the YAML file.

    Raises:
        InputError: a file that is missing, cannot be read, or holds no YAML mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a YAML config") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error})") from None
    raw = parse_value(text, str(path))
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {type(raw).__name__} received; give a mapping of sections")
    return raw


def check_keys(value: Any, path: str = "") -> None:
    """Raise `InputError` for keys that are not strings, such as numbers and dates.

    Args:
        value: a YAML value.
        path: its key path, for errors.
    """
    entries: Iterable[tuple[Any, Any]] = enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, Mapping):
        entries = value.items()
    for key, entry in entries:
        if not isinstance(key, str) and isinstance(value, Mapping):
            raise InputError(f"{path or 'config'}: key {key!r} received; give strings as keys")
        check_keys(entry, f"{path}.{key}" if path else str(key))


def parse_value(text: str, source: str) -> Any:
    """Return the value of a YAML text, read safely.

    Args:
        text: YAML.
        source: name of the text, with which errors begin.

    Raises:
        InputError: text that is not YAML, or a duplicate key.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        detail = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{source}: {place}not YAML ({detail})") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: not usable YAML ({error})") from None
