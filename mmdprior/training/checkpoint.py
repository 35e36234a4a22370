"""Checkpoint files: written atomically with a checksum, and read without running code in them."""

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
from torch import Tensor, nn

from mmdprior.errors import InputError

__all__ = [
    "DamagedCheckpointError",
    "FORMAT_VERSION",
    "has_checksum",
    "intact",
    "is_checkpoint",
    "load_optimizer",
    "plain_key",
    "plain_state_dict",
    "random_states",
    "read_checkpoint",
    "restore_random_states",
    "seal",
    "versions",
    "write_checkpoint",
]

FORMAT_VERSION = 3
_SEALED_SINCE = 2
"""First format version whose files carry a checksum."""
_WAE_KERNEL_SINCE = 3
"""First format version in which an MMD without a kernel has ``wae_imq``; before, it had ``rbf``."""
_REQUIRED: Mapping[str, type] = {
    "format_version": int,
    "config": dict,
    "image_shape": list,
    "step": int,
    "model": dict,
}
_PACKAGES = ("mmdprior", "torch", "torchvision", "numpy")

# The checksum is the comment of the zip file, which torch.load and other zip readers ignore.
_MARK = b"mmdprior sha256 "
_DIGEST_SIZE = 64
_CHUNK = 2**20
_END_OF_ZIP = b"PK\x05\x06"
_END_SIZE = 22
"""Bytes of the end record of a zip file without a comment."""

_DDP, _COMPILED = "module", "_orig_mod"
"""Parts that DDP and torch.compile add to the keys of a state dict."""


class DamagedCheckpointError(InputError):
    """A file whose bytes have changed since it was written, or that is not a checkpoint."""


def seal(file: IO[bytes]) -> None:
    """Append a SHA-256 checksum to a zip file, as its comment.

    Args:
        file: zip file without a comment, open for reading and writing.
    """
    file.seek(-_END_SIZE, 2)
    end = file.read()
    if end[:4] != _END_OF_ZIP or end[-2:] != b"\0\0":
        raise ValueError("not a zip file without a comment")
    # The last two bytes of the end record are the length of the comment, which is under the checksum, too.
    file.seek(-2, 2)
    file.write(struct.pack("<H", len(_MARK) + _DIGEST_SIZE) + _MARK)
    size = file.tell()
    digest = _digest(file, size)
    file.seek(size)
    file.write(digest)


def has_checksum(path: str | Path) -> bool:
    """Return whether a file ends with a checksum; damage may have hidden it."""
    with Path(path).open("rb") as file:
        if file.seek(0, 2) < len(_MARK) + _DIGEST_SIZE:
            return False
        file.seek(-len(_MARK) - _DIGEST_SIZE, 2)
        return file.read(len(_MARK)) == _MARK


def intact(path: str | Path) -> bool:
    """Return whether the bytes of a file match its checksum."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2) - _DIGEST_SIZE
        file.seek(size)
        return file.read() == _digest(file, size)


def _digest(file: IO[bytes], size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the first ``size`` bytes of a file."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        chunk = file.read(min(_CHUNK, size))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()


def write_checkpoint(content: Mapping[str, Any], path: Path, *, keep: Path | None = None) -> None:
    """Write a checkpoint under a temporary name, then rename it, so that a crash leaves the old file.

    Args:
        content: tensors, numbers, strings, lists and dicts only.
        path: the file; its folder exists.
        keep: path in the same folder that the file replaced by this one is renamed to; by default it is
            deleted.

    Raises:
        InputError: the disk is full or fails.

    Example:
        >>> content = {"format_version": 2, "config": {}, "image_shape": [1, 8, 8], "step": 0, "model": {}}
        >>> write_checkpoint(content, Path("last.pt"))
        >>> read_checkpoint("last.pt")["step"]
        0
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w+b") as file:
            torch.save(dict(content), file)
            seal(file)
            # The bytes must reach the disk before the rename, otherwise a power failure could leave an
            # empty file under the new name.
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.is_file():
            _link(path, keep)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch wraps the OSError of the disk in a RuntimeError
        cause = _disk_error(error)
        if cause is None:
            raise
        raise InputError(
            f"{path}: not written ({cause.strerror}); the checkpoints before it are kept; free some disk "
            "space, then continue with --resume"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, replacing ``other``. The first name exists at every moment."""
    link = other.with_name(f".{other.name}.{os.getpid()}.tmp")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, other)
    except OSError:  # a file system without hard links
        os.replace(path, other)


def _disk_error(error: BaseException | None) -> OSError | None:
    """Return the first OSError in the chain of causes of an error."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU. No code in it runs.

    Args:
        path: the ``.pt`` file.

    Raises:
        DamagedCheckpointError: the file has changed since it was written, or is of another kind.
        InputError: the file is missing, of a newer format, or holds pickled objects.

    Example:
        >>> content = {"format_version": 2, "config": {}, "image_shape": [1, 8, 8], "step": 7, "model": {}}
        >>> write_checkpoint(content, Path("last.pt"))
        >>> read_checkpoint("last.pt")["step"]
        7
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a checkpoint (.pt)")
    content, sealed = _load(path)
    if not isinstance(content, dict) or not content.keys() >= _REQUIRED.keys():
        raise InputError(f"{path}: not a checkpoint of this package; give a file that training wrote")
    for key, kind in _REQUIRED.items():
        if not isinstance(content[key], kind):
            raise InputError(f"{path}: {key} is {type(content[key]).__name__}; the file is damaged")
    if not isinstance(content.get("assets", {}), dict):
        raise InputError(f"{path}: assets is {type(content['assets']).__name__}; the file is damaged")
    if content["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {content['format_version']} received; expected at most "
            f"{FORMAT_VERSION}; update mmdprior"
        )
    if content["format_version"] >= _SEALED_SINCE and not sealed:
        raise DamagedCheckpointError(f"{path}: damaged; its checksum is missing; give an intact checkpoint")
    if content["format_version"] < _WAE_KERNEL_SINCE:
        content["config"] = _with_former_kernel(content["config"])
    return content


def _with_former_kernel(config: Any) -> Any:
    """Return a config in which every MMD without a kernel has the former default."""
    if isinstance(config, list):
        return [_with_former_kernel(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    entries = {key: _with_former_kernel(entry) for key, entry in config.items()}
    if entries.get("name") == "mmd" and entries.get("kernel") is None:
        entries["kernel"] = {"name": "rbf"}
    return entries


def _load(path: str | Path) -> tuple[Any, bool]:
    """Return the content of a file, and whether it was checked against a checksum."""
    damaged = DamagedCheckpointError(
        f"{path}: damaged or no checkpoint; give an intact file that training wrote, such as previous.pt"
    )
    try:
        sealed = has_checksum(path)
        if not (intact(path) if sealed else _entries_intact(path)):
            raise damaged
        return torch.load(path, map_location="cpu", weights_only=True), sealed
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                f"{path}: holds pickled objects, which are never loaded; give a file that training wrote"
            ) from None
        raise damaged from None
    except InputError:
        raise
    except Exception:  # torch and zipfile raise many types for a bad file
        raise damaged from None


def _entries_intact(path: str | Path) -> bool:
    """Return whether the CRC of every zip entry matches, for files of format 1, which lack a checksum."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a file looks like a checkpoint of this package; `read_checkpoint` checks its content.

    Args:
        path: any existing file.

    Example:
        >>> _ = Path("codes.csv").write_text("0.1,0.2")
        >>> is_checkpoint("codes.csv")
        False
    """
    try:
        if has_checksum(path):
            return True
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises many types for files of other kinds
        return False
    return isinstance(content, dict) and {"format_version", "model", "config"} <= content.keys()


def plain_state_dict(module: nn.Module) -> dict[str, Any]:
    """Return a state dict with `plain_key` keys."""
    return {plain_key(key): value for key, value in module.state_dict().items()}


def plain_key(key: str) -> str:
    """Return a state dict key without DDP's leading ``module`` and without torch.compile's ``_orig_mod``.

    Only whole parts between dots are removed, since a user's network may have a ``submodule``.
    """
    parts = [part for part in key.split(".") if part != _COMPILED]
    while len(parts) > 1 and parts[0] == _DDP:
        parts = parts[1:]
    return ".".join(parts)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state.

    Raises:
        InputError: moments of another shape than their parameter. torch loads these without an error, and
            the next step fails.
    """
    optimizer.load_state_dict(dict(state))
    for parameter, entries in optimizer.state.items():
        for name, entry in entries.items():
            if isinstance(entry, Tensor) and entry.ndim > 0 and entry.shape != parameter.shape:
                raise InputError(
                    f"optimizer.{name}: shape {tuple(entry.shape)} received; expected "
                    f"{tuple(parameter.shape)}, the shape of the parameter"
                )


def random_states() -> dict[str, Any]:
    """Return the states of the global generators of torch and NumPy, which users' modules may draw from."""
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
    """Restore `random_states`; that of CUDA goes to the current device, whichever device wrote it."""
    torch.set_rng_state(states["torch"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    cuda = states.get("cuda", [])
    if torch.cuda.is_available() and cuda:
        torch.cuda.set_rng_state(cuda[0])


def versions() -> dict[str, str]:
    """Return the versions of Python and packages, and the git revision if the package is in a repository."""
    by_package = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            by_package[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            by_package[package] = "not installed"
    revision = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    if revision.returncode == 0:
        by_package["git"] = revision.stdout.strip()
    return by_package
