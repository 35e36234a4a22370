"""From a YAML file and overrides to a checked config, and back."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmdprior.config.schema import SECTIONS, Config
from mmdprior.config.validation import validate
from mmdprior.errors import InputError

__all__ = ["check_keys", "dump_config", "load_config", "make_config", "parse_value", "read_mapping"]


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys and reads 1e-3 as a number."""

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


# YAML 1.1, which PyYAML implements, reads 1e-3 as text.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a YAML file, apply overrides, and check the result.

    Args:
        path: the YAML file.
        overrides: ``key.sub=value`` texts, applied in order. Keys reach any depth and into lists by index,
            values are YAML, and absent sections are created.

    Raises:
        InputError: the first error, in one line: file, key path, value received, and remedy.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.config import load_config
        >>> text = '''
        ... name: demo
        ... data: {name: sprites}
        ... model: {name: mlp, latent_dim: 4}
        ... regularizer: {name: mmd, prior: {name: uniform}}
        ... trainer: {steps: 100}
        ... '''
        >>> _ = Path("demo.yaml").write_text(text)
        >>> load_config("demo.yaml", ["trainer.steps=5", "regularizer.prior.low=-2"]).trainer.steps
        5
    """
    raw = read_mapping(path)
    for override in overrides:
        _apply(raw, override)
    return make_config(raw, Path(path).parent, str(path))


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


def make_config(raw: Mapping[str, Any], folder: Path = Path(), source: str = "config") -> Config:
    """Check a mapping and return it as a config.

    Args:
        raw: the content of a YAML file.
        folder: folder of that file, where relative targets are looked up first.
        source: name of that file, with which errors begin.

    Raises:
        InputError: the first error, in one line.
    """
    try:
        check_keys(raw)
        # An absent section is an empty one, so the error names its first missing key.
        return validate(Config, {**{name: {} for name in SECTIONS}, **raw}, folder=folder)
    except RecursionError:
        raise InputError(f"{source}: nested too deeply, or an anchor that contains itself") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


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


def dump_config(config: Config) -> str:
    """Return the resolved config as YAML text; loading it gives the same config.

    Args:
        config: a checked config.

    Example:
        >>> import yaml
        >>> from mmdprior.config import dump_config
        >>> from mmdprior.config.load import make_config
        >>> raw = {"name": "demo", "data": {"name": "sprites"}, "model": {"name": "mlp", "latent_dim": 4}}
        >>> config = make_config({**raw, "regularizer": {"name": "none"}, "trainer": {"steps": 10}})
        >>> text = dump_config(config)
        >>> print(text.splitlines()[0], "...")
        name: demo ...
        >>> make_config(yaml.safe_load(text)) == config
        True
    """
    return yaml.safe_dump(config.to_dict(), sort_keys=False)


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one ``key.sub=value`` in place."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"override: {override!r} received; give key.sub=value")
    holder: Any = raw
    for key in keys[:-1]:
        holder = _enter(holder, key, override)
    last: Any = _index(holder, keys[-1], override) if isinstance(holder, list) else keys[-1]
    holder[last] = parse_value(text, f"override {path}")


def _enter(holder: Any, key: str, override: str) -> Any:
    """Return the mapping or list under a key; an absent one is created, and a name becomes a slot."""
    at: Any = _index(holder, key, override) if isinstance(holder, list) else key
    inner = holder[at] if isinstance(holder, list) else holder.get(at)
    if inner is None or isinstance(inner, str):
        inner = holder[at] = {} if inner is None else {"name": inner}
    if not isinstance(inner, (dict, list)):
        raise InputError(f"override: {override!r} received; {key} is not a section")
    return inner


def _index(entries: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(entries):
        raise InputError(
            f"override: {override!r} received; {key!r} is out of range for a list of {len(entries)} (from 0)"
        )
    return int(key)
