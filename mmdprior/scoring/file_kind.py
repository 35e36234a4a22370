"""The kind of a file, by its content, before anything in it runs."""

import zipfile
from pathlib import Path
from typing import Literal

from torch import Tensor

from mmdprior.data.codes import is_codes
from mmdprior.errors import InputError
from mmdprior.scoring.onnx import ONNX_SUFFIX
from mmdprior.scoring.weights import WEIGHTS_SUFFIX, state_dicts
from mmdprior.torch_files import load_torch_file

__all__ = ["FileKind", "file_kind"]

FileKind = Literal["checkpoint", "codes", "torchscript", "exported", "onnx"]

_EXPORTED = ("models/", "archive_format", "serialized_exported_program.json")
"""Members of a file written by ``torch.export.save``."""


def file_kind(path: str, key: str | None = None) -> FileKind:
    """Return whether a file is a checkpoint of this package, codes, TorchScript, an exported program or ONNX.

    A file that cannot be read counts as a checkpoint, whose reader raises the error.

    Args:
        path: the file, or the folder of a Zarr store or a data set.
        key: name of the codes among the tensors of a ``.pt`` file; with it such a file holds codes.

    Raises:
        InputError: no such file, or a file of weights without a model.
    """
    file = Path(path)
    if is_codes(file) and file.exists():
        return "codes"
    if not file.is_file():
        raise InputError(f"{path}: no such file; give a checkpoint, a file of codes or a saved model")
    if file.suffix == WEIGHTS_SUFFIX:
        raise _weights_only(path)
    if file.suffix.lower() == ONNX_SUFFIX:
        return "onnx"
    with file.open("rb") as content:
        start = content.read(6)
    if start == b"\x93NUMPY":
        return "codes"
    names = _members(file)
    if names and all(name.endswith(".npy") for name in names):
        return "codes"
    # Archives of torch have one top folder, named after the file.
    below = [name.partition("/")[2] for name in names] + names
    if any(name.startswith("code/") for name in below):
        return "torchscript"
    if any(name.startswith(_EXPORTED) for name in below):
        return "exported"
    return _kind_of_tensors(file, key)


def _members(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _kind_of_tensors(file: Path, key: str | None) -> FileKind:
    try:
        content = load_torch_file(file)
    except InputError:
        return "checkpoint"
    if isinstance(content, Tensor) or key is not None:
        return "codes"
    if isinstance(content, dict) and "config" not in content:
        if {"mean", "codes"} & content.keys():
            return "codes"
        if state_dicts(content):
            raise _weights_only(str(file))
    return "checkpoint"


def _weights_only(path: str) -> InputError:
    return InputError(f"{path}: only weights; give the model as well, --encoder TARGET --weights {path}")
