"""Checks of the files that a command writes, before it computes anything."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from mmdprior.errors import InputError

__all__ = ["check_outputs"]

_INPUTS = frozenset({".csv", ".npy", ".npz", ".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".yaml"})
"""Suffixes of codes, models and configs, which a file of scores would replace."""


def check_outputs(options: argparse.Namespace, inputs: Iterable[str | None]) -> None:
    """Check the outputs of a command.

    Args:
        options: options of a command; ``json``, ``out``, ``rows`` and ``figures`` are its outputs.
        inputs: files and run directories that the command reads.

    Raises:
        InputError: an output is an input, a folder instead of a file, a file of scores named like a model, or
            cannot be written.
    """
    read = [Path(path) for path in inputs if path]
    for name in ("json", "out", "rows", "figures"):
        value = getattr(options, name, None)
        if not isinstance(value, str):  # not given; or of a command whose ``rows`` is a number
            continue
        output = Path(value)
        if name == "json" and (output.suffix.lower() in _INPUTS or output.is_dir()):
            raise InputError(f"--json: {value} received; give a file that ends in .json")
        if any(_replaces(output, path) for path in read):
            raise InputError(f"--{name}: {value} received, which is an input; give another path")
        if obstacle := _obstacle(output):
            raise InputError(f"--{name}: {value} cannot be written ({obstacle}); give another path")


def _obstacle(output: Path) -> str | None:
    """Return why a file or folder cannot be written, as far as that is visible without writing."""
    existing = next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))
    if existing != output and not existing.is_dir():
        return f"{existing} is not a folder"
    return None if os.access(existing, os.W_OK) else f"no permission to write {existing}"


def _replaces(output: Path, path: Path) -> bool:
    """Return whether writing a file would replace an input, or a checkpoint of a run that is an input."""
    output, path = output.resolve(), path.resolve()
    return output == path or (path.is_dir() and output.parent == path / "checkpoints")
