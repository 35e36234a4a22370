"""Checks of the files that a command writes, before it computes anything."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from mmdprior.errors import InputError

__all__ = ["check_outputs"]

_INPUTS = frozenset({".csv", ".npy", ".npz", ".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".yaml"})
"""Suffixes of codes, models and configs, which a file of scores would replace."""


def check_outputs(options: argparse.Namespace, inputs: Iterable[str | None]) -> None:
    """Raise `InputError` if an output is an input, a folder, or a file of scores named like a model.

    Args:
        options: options of a command; ``json`` and ``out`` are its outputs.
        inputs: files and run directories that the command reads.
    """
    read = [Path(path) for path in inputs if path]
    for name in ("json", "out"):
        value = getattr(options, name, None)
        if not value:
            continue
        output = Path(value)
        if name == "json" and (output.suffix.lower() in _INPUTS or output.is_dir()):
            raise InputError(f"--json: {value} received; give a file that ends in .json")
        if any(_replaces(output, path) for path in read):
            raise InputError(f"--{name}: {value} received, which is an input; give another path")


def _replaces(output: Path, path: Path) -> bool:
    """Return whether writing a file would replace an input, or a checkpoint of a run that is an input."""
    output, path = output.resolve(), path.resolve()
    return output == path or (path.is_dir() and output.parent == path / "checkpoints")
