"""Configs that build on others: ``base: other.yaml``, and the configs that the package ships.

A config with a base states only what differs. Mappings are merged key by key, to any depth. Lists and plain
values replace those of the base. A part with another ``name`` or ``target`` replaces the part of the base
with its arguments. The settings of the section around it, such as ``data.batch_size``, stay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdprior.config.schema import SECTIONS
from mmdprior.config.targets import absolute_target
from mmdprior.config.text import check_keys, read_mapping
from mmdprior.errors import InputError, nearest, shorten
from mmdprior.files import expand

__all__ = ["Layers", "find_config", "read_layers", "shipped_folder", "shipped_names"]

_BASE = "base"
_NETWORKS = ("encoder", "decoder")


@dataclass(frozen=True)
class Layers:
    """A config merged with its bases.

    Attributes:
        content: the merged mapping, without ``base``.
        places: file that sets a value, by key path; empty without a base.
    """

    content: dict[str, Any]
    places: dict[str, str] = field(default_factory=dict)

    def place_of(self, path: str) -> str | None:
        """Return the file that sets the value at a key path, or the nearest value around it.

        Args:
            path: key path, such as ``regularizer.prior.low``.
        """
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path)


def read_layers(path: str | Path) -> Layers:
    """Read a YAML file with its bases.

    Args:
        path: the YAML file, or the name of a shipped config.

    Raises:
        InputError: a file that is missing or no mapping, or bases in a cycle.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.config.base import read_layers
        >>> _ = Path("base.yaml").write_text("trainer: {steps: 10, learning_rate: 0.01}")
        >>> _ = Path("long.yaml").write_text("base: base.yaml\\ntrainer: {steps: 99}")
        >>> layers = read_layers("long.yaml")
        >>> layers.content
        {'trainer': {'steps': 99, 'learning_rate': 0.01}}
        >>> layers.place_of("trainer.steps"), layers.place_of("trainer.learning_rate")
        ('long.yaml', 'base.yaml')
    """
    try:
        return _read(find_config(path), ())
    except RecursionError:
        raise InputError(f"{path}: nested too deeply, or an anchor that contains itself") from None


def find_config(path: str | Path, folder: Path = Path()) -> Path:
    """Return the file of a config: next to the file that names it, in the working directory, or shipped.

    Args:
        path: a YAML file, or the name of a shipped config, such as ``cifar10/vae``.
        folder: folder of the file that names it.

    Raises:
        InputError: there is no such file, or an environment variable in the path is not set.
    """
    file = Path(expand(str(path)))
    shipped = shipped_folder() / f"{file}.yaml"
    for candidate in (folder / file, file, *([] if file.suffix else [shipped])):
        if candidate.is_file():
            return candidate
    hint = "give a YAML config"
    if not file.suffix:
        hint += f", or the name of a shipped one; {nearest(str(path), shipped_names())}"
    raise InputError(f"{path}: no such file; {hint}")


def shipped_folder() -> Path:
    """Return the folder of the shipped configs, in an installed package or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped_names() -> list[str]:
    """Return the names of the shipped configs and plans, without those that only serve as a base."""
    folder = shipped_folder()
    files = [file for file in folder.rglob("*.yaml") if file.stem != _BASE]
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def _read(file: Path, above: tuple[Path, ...]) -> Layers:
    """Return the content of a file over that of its bases.

    Args:
        file: a YAML file.
        above: files whose bases lead to it.
    """
    if file.resolve() in (other.resolve() for other in above):
        chain = " -> ".join(map(str, (*above, file)))
        raise InputError(f"{above[0]}: base: a cycle, {chain}; remove one of them")
    content = read_mapping(file)
    if _BASE not in content and not above:
        return Layers(content)
    names = content.pop(_BASE, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{file}: base: {shorten(repr(names))} received; give a YAML file, or a list of them"
        )
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name in names:
        try:
            base = _read(find_config(name, file.parent), (*above, file))
        except InputError as error:
            in_base = "base: " in str(error)
            raise (error if in_base else InputError(f"{file}: base: {error}")) from None
        merged, places = _merged(merged, base.content), {**places, **base.places}
    try:
        check_keys(content)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    content = _with_absolute_targets(content, file.parent) if above else content
    return Layers(_merged(merged, content), {**places, **dict.fromkeys(_paths(content), str(file))})


def _merged(base: Mapping[str, Any], over: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a mapping over another.

    Args:
        base: values that stay where ``over`` has none.
        over: values that replace them.
        path: key path of both.
    """
    kept = _kept(base, over, path)
    result = dict(kept)
    for key, value in over.items():
        below = kept.get(key)
        if isinstance(value, Mapping):
            inner = f"{path}.{key}".lstrip(".")
            # A name is a part without arguments. If no other part is named, the arguments are added to it.
            if isinstance(below, str) and _part_of(value, inner) is None:
                below = {"name": below}
            value = _merged(below if isinstance(below, Mapping) else {}, value, inner)
        result[key] = value
    return result


def _kept(base: Mapping[str, Any], over: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the entries of a base that stay: only settings of the section, if another part replaces it."""
    before, after = _part_of(base, path), _part_of(over, path)
    if before is None or after is None or before == after:
        return base
    section = SECTIONS.get(path)
    if section is None:
        return {}
    settings = section.model_fields.keys() - {section.flat, *_NETWORKS}
    return {key: value for key, value in base.items() if key in settings}


def _part_of(value: Mapping[str, Any], path: str) -> tuple[Any, Any] | None:
    """Return name and target of a part; None for a mapping that names no part, such as a whole config."""
    has_networks = path == "model" and all(key in value for key in _NETWORKS)
    if path and (has_networks or "name" in value or "target" in value):
        return value.get("name"), value.get("target")
    return None


def _with_absolute_targets(value: Any, folder: Path) -> Any:
    """Return a value with the files of its targets looked up in the folder of the file that names them."""
    if isinstance(value, list):
        return [_with_absolute_targets(entry, folder) for entry in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: absolute_target(entry, folder)
        if key == "target" and isinstance(entry, str)
        else _with_absolute_targets(entry, folder)
        for key, entry in value.items()
    }


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the key path of a value and of all values in it."""
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from _paths(entry, f"{path}.{key}" if path else str(key))
