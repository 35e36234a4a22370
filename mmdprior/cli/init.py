"""Write a commented config to start from."""

from collections.abc import Sequence

from mmdprior.cli.parser import Parser, parse

__all__ = ["add_options", "main"]


def add_options(parser: Parser) -> None:
    """Add the options of the command to a parser."""


def main(arguments: Sequence[str]) -> int:
    """Write the config."""
    parse("init", add_options, arguments, __doc__)
    return 0
