"""Checkpoints: written whole or not at all, read without running anything in them."""

import hashlib
import os
import pickle
import platform
import struct
import subprocess
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn

from mmdprior.errors import InputError

__all__ = [
    "DamagedCheckpointError",
    "FORMAT_VERSION",
    "has_checksum",
    "intact",
    "is_checkpoint",
    "plain_key",
    "plain_state_dict",
    "random_states",
    "read_checkpoint",
    "restore_random_states",
    "seal",
    "versions",
    "write_checkpoint",
]

_MARK = b"mmdprior sha256 "
_DIGEST = 64
_CHUNK = 2**20
_END_OF_ZIP = b"PK\x05\x06"
_END_SIZE = 22


def seal(file: IO[bytes]) -> None:
    """Add the checksum to a zip file without a comment, open for reading and writing."""
    file.seek(-_END_SIZE, 2)
    end = file.read()
    if end[:4] != _END_OF_ZIP or end[-2:] != b"\0\0":
        raise ValueError("not a zip file without a comment")
    file.seek(-2, 2)
    file.write(struct.pack("<H", len(_MARK) + _DIGEST) + _MARK)
    size = file.tell()
    digest = _digest(file, size)
    file.seek(size)
    file.write(digest)


def has_checksum(path: str | Path) -> bool:
    """Log whether a file says that it ends with a checksum; a damaged one may no longer say so."""
    with Path(path).open("rb") as file:
        if file.seek(0, 2) < len(_MARK) + _DIGEST:
            return False
        file.seek(-len(_MARK) - _DIGEST, 2)
        return file.read(len(_MARK)) == _MARK


def intact(path: str | Path) -> bool:
    """Log whether a file with a checksum is as it was written."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2) - _DIGEST
        file.seek(size)
        return file.read() == _digest(file, size)


def _digest(file: IO[bytes], size: int) -> bytes:
    """Return the hexadecimal digest of a file's first bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        chunk = file.read(min(_CHUNK, size))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()


FORMAT_VERSION = 2
_SEALED_SINCE = 2
_REQUIRED: Mapping[str, type] = {
    "format_version": int,
    "config": dict,
    "image_shape": list,
    "step": int,
    "model": dict,
}
_PACKAGES = ("mmdprior", "torch", "torchvision", "numpy")
_REPLICATED, _COMPILED = "module", "_orig_mod"


class DamagedCheckpointError(InputError):
    """A file that is not as it was written, or no checkpoint at all."""


def write_checkpoint(content: Mapping[str, Any], path: Path, *, keep: Path | None = None) -> None:
    """Write a checkpoint under a temporary name, then rename it: a crash leaves the old file.

    Args:
        content: tensors, numbers, strings, lists and dicts alone.
        path: the file; its folder exists.
        keep: name beside it that the file before it gets; by default it is replaced.

    Raises:
        InputError: a disk that is full or fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w+b") as file:
            torch.save(dict(content), file)
            seal(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.is_file():
            _also_name(path, keep)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch hides the disk's error behind one of its own
        cause = _disk_error(error)
        if cause is None:
            raise
        raise InputError(
            f"{path}: not written ({cause.strerror}); what was there before is kept; mend the disk, then "
            "continue with --resume"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _also_name(path: Path, other: Path) -> None:
    """Give a file a second name, in place of whatever had it, so that there is no moment without it."""
    link = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, other)
    except OSError:  # a file system without hard links
        os.replace(path, other)


def _disk_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it runs.

    Raises:
        DamagedCheckpointError: a file that is not as it was written, or of another kind.
        InputError: a file that is missing, of a newer format, or that holds pickled objects.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a checkpoint (.pt)")
    content, sealed = _load(path)
    if not isinstance(content, dict) or not content.keys() >= _REQUIRED.keys():
        raise InputError(f"{path}: not a checkpoint of this package; give a file that training wrote")
    for key, kind in _REQUIRED.items():
        if not isinstance(content[key], kind):
            raise InputError(f"{path}: {key} is {type(content[key]).__name__}; the file is damaged")
    if content["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {content['format_version']} received; this package reads up to "
            f"{FORMAT_VERSION}, update it"
        )
    if content["format_version"] >= _SEALED_SINCE and not sealed:
        raise DamagedCheckpointError(f"{path}: damaged; its checksum is gone")
    return content


def _load(path: str | Path) -> tuple[Any, bool]:
    """Return what a file holds, and whether a checksum vouches for it."""
    damaged = DamagedCheckpointError(f"{path}: damaged or no checkpoint; give a file that training wrote")
    try:
        sealed = has_checksum(path)
        whole = intact(path) if sealed else _entries_are_whole(path)
        if not whole:
            raise damaged
        return torch.load(path, map_location="cpu", weights_only=True), sealed
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error):
            raise InputError(f"{path}: holds pickled objects, which are never run; not read") from None
        raise damaged from None
    except InputError:
        raise
    except Exception:  # torch and zipfile raise many kinds for a bad file
        raise damaged from None


def _entries_are_whole(path: str | Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def is_checkpoint(path: str | Path) -> bool:
    """Log whether a file claims to be a checkpoint of this package; `read_checkpoint` checks it."""
    try:
        if has_checksum(path):
            return True
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises many kinds for files of other kinds
        return False
    return isinstance(content, dict) and {"format_version", "model", "config"} <= content.keys()


def plain_state_dict(module: nn.Module) -> dict[str, Any]:
    """Return a state dict whose keys carry no trace of DDP or torch.compile."""
    return {plain_key(key): value for key, value in module.state_dict().items()}


def plain_key(key: str) -> str:
    """Return a key without DDP's leading ``module`` and torch.compile's ``_orig_mod`` anywhere.

    Only whole parts between dots count: a network of the user's may have a ``submodule``.
    """
    parts = [part for part in key.split(".") if part != _COMPILED]
    while len(parts) > 1 and parts[0] == _REPLICATED:
        parts = parts[1:]
    return ".".join(parts)


def random_states() -> dict[str, Any]:
    """Return the states of torch's and NumPy's global generators, for modules that use them."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            gauss,
        ],
    }
    if torch.cuda.is_available():
        states["cuda"] = [torch.cuda.get_rng_state()]
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put the states of `random_states` back; CUDA's into the current device, whichever wrote it."""
    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    cuda = states.get("cuda", [])
    if torch.cuda.is_available() and cuda:
        torch.cuda.set_rng_state(cuda[0])


def versions() -> dict[str, str]:
    """Return the versions that a number depends on, with the git revision where there is one."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    revision = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    if revision.returncode == 0:
        found["git"] = revision.stdout.strip()
    return found
