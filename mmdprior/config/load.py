"""From a YAML file and overrides to a checked config, and back."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmdprior.config.base import Layers, find_config, read_layers
from mmdprior.config.schema import SECTIONS, Config
from mmdprior.config.text import check_keys, parse_value, read_mapping
from mmdprior.config.validation import validate
from mmdprior.errors import InputError

__all__ = ["check_keys", "dump_config", "load_config", "make_config", "parse_value", "read_mapping"]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a YAML file, apply overrides, and check the result.

    Args:
        path: the YAML file, which may have a ``base``, or the name of a shipped config.
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
    file = find_config(path)
    layers = read_layers(file)
    for override in overrides:
        _apply(layers.content, override)
    return make_config(layers.content, file.parent, str(file), layers.places)


def make_config(
    raw: Mapping[str, Any],
    folder: Path = Path(),
    source: str = "config",
    places: Mapping[str, str] | None = None,
) -> Config:
    """Check a mapping and return it as a config.

    Args:
        raw: the content of a YAML file.
        folder: folder of that file, where relative targets are looked up first.
        source: name of that file, with which errors begin.
        places: file that sets a value, by key path, where that is another one; none by default.

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
        place = Layers({}, dict(places or {})).place_of(str(error).partition(": ")[0])
        raise InputError(f"{place or source}: {error}") from None


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


_COMMENT = re.compile(r"\s#")


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
    holder[last] = value = parse_value(text, f"override {path}")
    if isinstance(value, str) and _COMMENT.search(text) and "#" not in value:
        quoted = f"{path.strip()}='\"{text.strip()}\"'"
        raise InputError(f"override: {override!r} received; # after a space starts a comment: {quoted}")


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
