"""From a YAML file and overrides to a checked config."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmdprior.config.schema import Config
from mmdprior.errors import InputError

__all__ = ["check_keys", "dump_config", "load_config", "make_config", "parse_value", "read_mapping"]


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing a key given twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise InputError(f"line {line}: key {key!r} is given twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.sub=value`` overrides, and check everything.

    Args:
        path: the file.
        overrides: values are read as YAML; sections that are absent are made.

    Raises:
        InputError: one line with the file, the key path, the value and what was expected.
    """
    raw = read_mapping(path)
    for override in overrides:
        _apply(raw, override)
    return make_config(raw, Path(path).parent, str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of sections, safely, without checking what they hold.

    Raises:
        InputError: a file that is missing, not readable, no YAML, or no mapping.
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


def make_config(raw: Mapping[str, Any], folder: Path, source: str) -> Config:
    """Check a mapping; errors begin with where it came from."""
    try:
        check_keys(raw)
        return Config(raw, folder)
    except RecursionError:
        raise InputError(f"{source}: nested too deeply, or an anchor that holds itself") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def check_keys(value: Any, path: str = "") -> None:
    """Refuse keys that are no words, such as numbers and dates."""
    entries: Iterable[tuple[Any, Any]] = enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, Mapping):
        entries = value.items()
    for key, entry in entries:
        if not isinstance(key, str) and isinstance(value, Mapping):
            raise InputError(f"{path or 'config'}: key {key!r} received; keys are words")
        check_keys(entry, f"{path}.{key}" if path else str(key))


def parse_value(text: str, source: str) -> Any:
    """Read YAML text safely.

    Raises:
        InputError: text that is no YAML, or a key given twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{source}: {place}not YAML ({problem})") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: not usable YAML ({error})") from None


def dump_config(config: Config) -> str:
    """Return the resolved config as YAML."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False)


def _apply(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"override: {override!r} received; give key.sub=value")
    place: Any = raw
    for key in keys[:-1]:
        place = _inside(place, key, override)
    last: Any = _index(place, keys[-1], override) if isinstance(place, list) else keys[-1]
    place[last] = parse_value(text, f"override {path}")


def _inside(place: Any, key: str, override: str) -> Any:
    """Return the mapping or list under a key or a list's index; absent sections are made, names opened."""
    at: Any = _index(place, key, override) if isinstance(place, list) else key
    inner = place[at] if isinstance(place, list) else place.get(at)
    if inner is None or isinstance(inner, str):
        inner = place[at] = {} if inner is None else {"name": inner}
    if not isinstance(inner, (dict, list)):
        raise InputError(f"override: {override!r} received; {key} is no section")
    return inner


def _index(entries: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(entries):
        raise InputError(
            f"override: {override!r} received; {key!r} is no place in a list of {len(entries)} (from 0)"
        )
    return int(key)
