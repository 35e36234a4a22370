"""Weights as people save them: the state dict in a checkpoint of any layout, a model folder, or shards."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmdprior.errors import DATA_LOG, InputError, reason, shorten
from mmdprior.torch_files import load_torch_file
from mmdprior.training.checkpoint import plain_key

__all__ = ["State", "WEIGHTS_SUFFIX", "read_weights", "state_dicts", "weights_for"]

_log = logging.getLogger(DATA_LOG)

State = dict[str, Tensor]
"""A state dict: tensors by name."""
WEIGHTS_SUFFIX = ".safetensors"
_INDEX = ".index.json"
"""End of the name of a file that lists the shard of every tensor."""
_TORCH_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".tar")
_NO_MODEL = ("optim", "sched", "scaler", "rng", "random", "callback", "loop", "hyper", "training_args")
"""Parts of names of files and entries in which tensors are not those of a model."""
_PREFERRED = "state_dict"
"""Entry that is used without a choice where several or none of the state dicts fit."""
_OPTIONAL = "num_batches_tracked"
"""Buffer that checkpoints of torch before 0.4.1 lack, and that torch adds."""


def read_weights(
    source: str | Path, key: str | None = None, prefix: str = "", wanted: Mapping[str, Tensor] | None = None
) -> State:
    """Return the state dict in a file or folder. Nothing in the file runs.

    Args:
        source: a file of `torch.save`, ``.safetensors``, the index of shards, or a folder with one of these.
        key: dotted path of the state dict in the file; None finds it.
        prefix: start of the names to load, which is removed; the other tensors are left out.
        wanted: state dict of the module to load into. Without ``key`` and ``prefix``, the state dict and the
            prefix under which its names and shapes are found.

    Raises:
        InputError: there is no such file, or it is damaged, or has none or several state dicts that fit.

    Example:
        >>> import torch
        >>> from mmdprior.scoring.weights import read_weights
        >>> net = torch.nn.Linear(2, 1)
        >>> states = {"model": {f"net.{name}": value for name, value in net.state_dict().items()}}
        >>> torch.save({"epoch": 3, "optimizer": {}, **states}, "last.ckpt")
        >>> list(read_weights("last.ckpt", wanted=net.state_dict()))
        ['weight', 'bias']
    """
    path = Path(source)
    states = state_dicts(_content(path), skip=() if key else _NO_MODEL)
    if not states:
        raise InputError(f"--weights: {path}: no state dict; save model.state_dict()")
    if key is not None:
        if key not in states:
            raise InputError(f"--key: {key!r} received for {path}; its state dicts are {_listed(states)}")
        states = {key: states[key]}
    if prefix:
        return _part(path, states, prefix)
    fitting = [] if wanted is None else [*_fitting(states, wanted)]
    if len(fitting) > 1:
        fitting = [fit for fit in fitting if fit[0] == _PREFERRED] or fitting
    if len(fitting) > 1:
        options = " or ".join(_options(name, start) for name, start, _ in fitting)
        raise InputError(f"--weights: {path}: several state dicts fit; give {options}")
    if fitting:
        name, start, state = fitting[0]
        if name or start:
            _log.info("weights: %s in %s", _options(name, start), path)
        return state
    name = _PREFERRED if _PREFERRED in states else next(iter(states))
    if len(states) > 1 and name != _PREFERRED:
        raise InputError(
            f"--weights: {path}: state dicts {_listed(states)} received; give one of them to --key"
        )
    return {plain_key(name): value for name, value in states[name].items()}


def weights_for(module: Any, source: str | Path, key: str | None = None, prefix: str = "") -> State:
    """Return `read_weights` for a module, which may be without a state dict of the usual kind."""
    wanted = module.state_dict()
    plain = all(isinstance(value, Tensor) for value in wanted.values())
    return read_weights(source, key, prefix, wanted if plain else None)


def state_dicts(content: Any, path: str = "", skip: Sequence[str] = _NO_MODEL) -> dict[str, State]:
    """Return all state dicts in the content of a file by their dotted path.

    A state dict is a dict with names of tensors. Other entries of it, such as an epoch, are left out.

    Args:
        content: what the file holds.
        path: dotted path of the content; empty for the whole.
        skip: parts of the names of entries that are left out; by default those of optimizers and the like.
    """
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return {}
    states: dict[str, State] = {}
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    for name, value in content.items():
        if not any(word in name.lower() for word in skip):
            states |= state_dicts(value, f"{path}.{name}" if path else name, skip)
    return {path: tensors} if not states and any(value.ndim for value in tensors.values()) else states


def _fitting(states: Mapping[str, State], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, str, State]]:
    """Yield path, prefix and tensors of every part that has the names and shapes of a state dict."""
    names = {name for name in wanted if not name.endswith(_OPTIONAL)}
    for path, state in states.items():
        shortened = {plain_key(name): value for name, value in state.items()}
        # A module may have a submodule that is called module.
        for variant in (state,) if state.keys() == shortened.keys() else (state, shortened):
            parts = {start: _without(variant, start) for start in _prefixes(variant, names)}
            fits = {start: part for start, part in parts.items() if _fits(part, wanted, names)}
            yield from ((path, start, part) for start, part in fits.items())
            if fits:
                break


def _prefixes(state: State, names: set[str]) -> list[str]:
    """Return the prefixes with which one of the names occurs."""
    first = min(names, default=None)
    if first is None:
        return []
    starts = [name.removesuffix(first) for name in state if name.endswith(first)]
    return [start for start in starts if not start or start.endswith(".")]


def _fits(part: State, wanted: Mapping[str, Tensor], names: set[str]) -> bool:
    return names <= part.keys() <= wanted.keys() and all(
        part[name].shape == wanted[name].shape for name in part
    )


def _without(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _part(path: Path, states: Mapping[str, State], prefix: str) -> State:
    """Return the tensors whose names start with the prefix, of the only state dict that has some."""
    parts = {name: _without(state, prefix) for name, state in states.items()}
    parts = {name: part for name, part in parts.items() if part}
    if not parts:
        starts = sorted({f"{name.split('.')[0]}." for state in states.values() for name in state})
        raise InputError(
            f"--prefix: {prefix!r} received for {path}; its names start with {shorten(', '.join(starts))}"
        )
    if len(parts) > 1 and _PREFERRED not in parts:
        raise InputError(f"--prefix: {prefix!r} is in {_listed(parts)} of {path}; give one of them to --key")
    return parts.get(_PREFERRED, next(iter(parts.values())))


def _options(key: str, prefix: str) -> str:
    options = [f"--key {key}"] if key else []
    return " ".join([*options, f"--prefix {prefix}"] if prefix else options) or "the whole file"


def _listed(states: Mapping[str, State]) -> str:
    return shorten(
        ", ".join(f"{name or '(the whole)'} ({len(state)} tensors)" for name, state in states.items())
    )


def _content(path: Path) -> Any:
    """Return what a file of weights, or a folder, holds."""
    if path.is_dir():
        path = _file_of_folder(path)
    if not path.is_file():
        raise InputError(f"--weights: {path}: no such file; give a .safetensors or .pt file")
    if path.name.endswith(_INDEX):
        return _shards(path)
    return _tensors(path)


def _file_of_folder(folder: Path) -> Path:
    """Return the only file of weights in a folder: an index of shards, safetensors, or else a torch file."""
    files = sorted(
        file for file in folder.iterdir() if not any(word in file.name.lower() for word in _NO_MODEL)
    )
    kinds: tuple[Callable[[Path], bool], ...] = (
        lambda file: file.name.endswith(_INDEX),
        lambda file: file.suffix == WEIGHTS_SUFFIX,
        lambda file: file.suffix in _TORCH_SUFFIXES,
    )
    for is_kind in kinds:
        suitable = [file for file in files if is_kind(file)]
        if len(suitable) > 1:
            names = shorten(", ".join(file.name for file in suitable))
            raise InputError(f"--weights: {folder}: a folder with {names}; give one of these files")
        if suitable:
            return suitable[0]
    raise InputError(f"--weights: {folder}: a folder without weights; give a .safetensors or .pt file")


def _shards(index: Path) -> State:
    """Return the tensors of all shards that an index lists."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
        outside = [name for name in names if Path(name).name != name]
    except Exception as error:  # any content that is no index
        raise InputError(
            f"--weights: {index}: no index of shards ({reason(error)}); give a .safetensors or .pt file"
        ) from None
    if outside:
        raise InputError(
            f"--weights: {index}: shard {outside[0]!r} received; give a name of a file next to it"
        )
    state: State = {}
    for name in names:
        shard = index.parent / name
        if not shard.is_file():
            raise InputError(f"--weights: {index}: shard {name} is missing; download it, too")
        state |= _tensors(shard)
    missing = sorted(places.keys() - state.keys())
    if missing:
        raise InputError(
            f"--weights: {index}: no tensor {missing[0]!r} in {places[missing[0]]}; download it again"
        )
    return state


def _tensors(path: Path) -> Any:
    try:
        return load_file(path) if path.suffix == WEIGHTS_SUFFIX else load_torch_file(path)
    except SafetensorError as error:
        raise InputError(f"--weights: {path}: damaged ({reason(error)})") from None
    except InputError as error:
        raise InputError(f"--weights: {error}") from None
