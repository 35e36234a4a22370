"""What a file holds, told by its content before anything in it is run."""

import zipfile
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mmdprior.data.codes import TABLE_SUFFIXES
from mmdprior.errors import InputError

__all__ = ["FileKind", "kind_of"]

FileKind = Literal["checkpoint", "codes", "torchscript", "exported"]

_EXPORTED = ("models/", "archive_format", "serialized_exported_program.json")


def kind_of(path: str) -> FileKind:
    """Log a checkpoint of ours, codes, and models that carry code apart.

    A file that cannot be read counts as a checkpoint: its reader says what is wrong.

    Raises:
        InputError: no such file, or weights without a model.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file; give a checkpoint, a file of codes or a saved model")
    if file.suffix == ".safetensors":
        raise InputError(f"{path}: weights alone; give the model too, --encoder TARGET --weights {path}")
    with file.open("rb") as content:
        start = content.read(6)
    if file.suffix.lower() in (".npy", ".npz", *TABLE_SUFFIXES) or start == b"\x93NUMPY":
        return "codes"
    names = _members(file)
    if names and all(name.endswith(".npy") for name in names):
        return "codes"
    inner = [name.partition("/")[2] for name in names] + names
    if any(name.startswith("code/") for name in inner):
        return "torchscript"
    if any(name.startswith(_EXPORTED) for name in inner):
        return "exported"
    return _kind_of_tensors(file, is_zip=bool(names))


def _members(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _kind_of_tensors(file: Path, *, is_zip: bool) -> FileKind:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception:  # torch raises many kinds for a bad file
        return "checkpoint"
    if isinstance(content, Tensor):
        return "codes"
    if isinstance(content, dict) and "config" not in content:
        if {"mean", "codes"} & content.keys():
            return "codes"
        nested = content.get("state_dict", content)
        if isinstance(nested, dict) and nested and all(isinstance(v, Tensor) for v in nested.values()):
            raise InputError(f"{file}: weights alone; give the model too, --encoder TARGET --weights {file}")
    return "checkpoint"
