"""The argument parser of all commands."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from mmdprior.errors import InputError

__all__ = ["Parser", "add_device", "picture_file", "positive", "print_error"]

_PICTURES = (".png", ".pdf", ".svg")


class Parser(argparse.ArgumentParser):
    """Parser that raises `InputError` with one line instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`."""
        raise InputError(f"{self.prog}: {message} (--help lists the options)")


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.lstrip("-").isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} received; give an integer of at least 1")
    return int(text)


def picture_file(path: str) -> Path:
    """Check that ``--out`` names a picture, and return its path.

    Raises:
        InputError: another suffix.
    """
    file = Path(path)
    if file.suffix not in _PICTURES:
        raise InputError(f"--out: {path} received; give a file that ends in .png, .pdf or .svg")
    return file


def add_device(parser: argparse.ArgumentParser, *, trust: str) -> None:
    """Add ``--device`` and ``--trust`` to a parser.

    Args:
        parser: parser of the command.
        trust: name of the files whose targets ``--trust`` allows to run.
    """
    parser.add_argument("--device", default="auto", help="torch device (auto: cuda, else mps, else cpu)")
    parser.add_argument("--trust", action="store_true", help=f"allow code that {trust} name to run")


def print_error(line: str) -> None:
    """Print a line to standard error, at once."""
    print(line, file=sys.stderr, flush=True)
