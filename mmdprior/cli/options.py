"""Options that several commands have, and types of their values."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdprior.errors import InputError

__all__ = ["add_device", "add_verbosity", "is_quiet", "is_verbose", "picture_file", "positive", "print_error"]

_PICTURES = (".png", ".pdf", ".svg")
_QUIET, _VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.lstrip("-").isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} received; give an integer of at least 1")
    return int(text)


def picture_file(path: str) -> Path:
    """Return the path of a picture; another suffix raises `InputError`."""
    file = Path(path)
    if file.suffix not in _PICTURES:
        raise InputError(f"--out: {path} received; give a file that ends in .png, .pdf or .svg")
    return file


def add_device(parser: argparse.ArgumentParser, *, trust: str) -> None:
    """Add ``--device`` and ``--trust``, which allows targets in the files named ``trust`` to run."""
    parser.add_argument("--device", default="auto", help="torch device; auto is cuda, otherwise mps or cpu")
    parser.add_argument("--trust", action="store_true", help=f"allow code named in {trust} to run")


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet`` and ``--verbose``."""
    parser.add_argument(*_QUIET, action="store_true", help="print results and errors only")
    parser.add_argument(*_VERBOSE, action="store_true", help="print all warnings, and tracebacks of errors")


def is_quiet(arguments: Sequence[str]) -> bool:
    """Return whether a command line, parsed or not, asks for results and errors only."""
    return bool({*_QUIET} & {*arguments})


def is_verbose(arguments: Sequence[str]) -> bool:
    """Return whether a command line, parsed or not, asks for all warnings and tracebacks."""
    return bool({*_VERBOSE} & {*arguments})


def print_error(line: str) -> None:
    """Print a line to standard error, at once."""
    print(line, file=sys.stderr, flush=True)
