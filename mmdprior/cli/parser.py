"""A parser whose complaints are one line, as all other errors are."""

import argparse
from typing import NoReturn

from mmdprior.errors import InputError

__all__ = ["Parser", "positive"]


class Parser(argparse.ArgumentParser):
    """Raises `InputError` in place of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Name what is wrong."""
        raise InputError(f"{self.prog}: {message} (--help lists the options)")


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} received; give at least 1")
    return value
