"""Files of `torch.save`, read without running anything in them."""

import pickle
import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from mmdprior.errors import InputError, reason

__all__ = ["load_torch_file"]

_HARMLESS_PACKAGES = (
    *("collections", "datetime", "decimal", "fractions", "lightning", "lightning_fabric", "ml_collections"),
    *("numpy", "omegaconf", "pathlib", "pytorch_lightning", "typing", "uuid", "yacs"),
)
"""Packages whose classes describe settings: containers, times, numbers, paths, configs."""
_LIGHTNING = "pytorch-lightning_version"
"""Entry of every checkpoint of Lightning, whose hyperparameters may be objects of any class."""
_HARMLESS = {
    *("argparse.Namespace", "types.SimpleNamespace", "torch.torch_version.TorchVersion"),
    *("_codecs.encode", "copyreg._reconstructor"),
    *(
        f"builtins.{name}"
        for name in (
            *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"),
            *("range", "set", "slice", "str", "tuple", "type"),
        )
    ),
}
_DICTS = ("AttributeDict", "CfgNode", "EasyDict", "defaultdict")
"""Names of classes that are dicts."""
_PICKLES = 4
"""Pickles in a file of torch before 1.6: magic number, protocol, system and content."""


class _Inert:
    """Placeholder of a harmless object, which keeps nothing and runs nothing."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertDict:
    """Placeholder of a subclass of dict; the unpickler fills the dict that it returns."""

    def __new__(cls, *arguments: Any) -> Any:
        return OrderedDict()


class _InertList:
    """Placeholder of a class of sequences; the unpickler fills the list that it returns."""

    def __new__(cls, *arguments: Any) -> Any:
        return []


def load_torch_file(path: str | PathLike[str]) -> Any:
    """Load a file of `torch.save` onto the CPU. Neither the file nor the classes that it names run.

    Tensors are memory-mapped where the format allows it. Settings that are saved with them, such as an
    ``argparse.Namespace``, an OmegaConf config or a NumPy scalar, are replaced by inert placeholders, and so
    are all objects in a checkpoint of Lightning.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, damaged or of another kind, or holds other pickled objects.

    Example:
        >>> import argparse, torch
        >>> from mmdprior.torch_files import load_torch_file
        >>> torch.save({"args": argparse.Namespace(lr=0.1), "weight": torch.ones(2)}, "model.pt")
        >>> load_torch_file("model.pt")["weight"]
        tensor([1., 1.])
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file; give a file written by torch.save")
    others: list[str] = []
    try:
        is_zip = zipfile.is_zipfile(file)
        names = _globals_of_zip(file) if is_zip else _globals_of_old_file(file)
        others = [name for name in names if not _is_harmless(name)]
        placeholders: list[Any] = [(_placeholder(name), name) for name in names]
        with torch.serialization.safe_globals(placeholders), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
        if others and not (isinstance(content, dict) and _LIGHTNING in content):
            raise _pickled(file, others)
        return content
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            others = others or [str(error).partition("GLOBAL ")[2].split(" ")[0]]
        if others:
            raise _pickled(file, others) from None
        raise InputError(f"{path}: damaged ({_first_sentence(error)})") from None
    except Exception as error:  # zipfile, zlib, pickletools and torch raise many types for a bad file
        if others:
            raise _pickled(file, others) from None
        raise InputError(f"{path}: damaged ({_first_sentence(error)})") from None


def _globals_of_zip(file: Path) -> list[str]:
    """Return the classes and functions that a file names and torch does not allow."""
    with zipfile.ZipFile(file) as archive:
        entries = [name.partition("/")[2] for name in archive.namelist()]
        if "constants.pkl" in entries:
            raise InputError(f"{file}: a TorchScript model; give the file itself to score, without --encoder")
        if "data.pkl" not in entries:
            raise InputError(f"{file}: no file that torch.save wrote; give a .pt or .pth file")
        damaged = archive.testzip()  # torch.load does not compare checksums
    if damaged is not None:
        raise InputError(f"{file}: damaged; the checksum of {damaged} differs; copy the file again")
    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))


def _globals_of_old_file(file: Path) -> list[str]:
    """Return the classes and functions outside torch that a file of torch before 1.6 names."""
    names = set()
    with file.open("rb") as content:
        if content.read(1) != pickle.PROTO:
            raise InputError(f"{file}: no file that torch.save wrote; give a .pt or .pth file")
        content.seek(0)
        for _ in range(_PICKLES):
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == "GLOBAL":
                    names.add(_modern_name(*str(argument).split(" ", 1)))
    return sorted(name for name in names if not name.startswith("torch."))


def _modern_name(module: str, name: str) -> str:
    """Return the name in Python 3 of a class or function in a pickle of protocol 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS or name.split(".")[0] in _HARMLESS_PACKAGES


def _placeholder(name: str) -> type:
    last = name.rpartition(".")[2]
    return _InertDict if last in _DICTS else _InertList if last == "deque" else _Inert


def _pickled(file: Path, names: list[str]) -> InputError:
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return InputError(
        f"{file}: holds pickled objects ({listed}), which are never run; if you trust the file, convert it: "
        "torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)"
    )


def _first_sentence(error: Exception) -> str:
    """Return the start of an error of torch, whose rest is advice to load unsafely."""
    text = reason(error)
    return text.partition(". ")[0] if "weights" in text.lower() else text
