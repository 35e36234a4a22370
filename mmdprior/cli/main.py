"""The ``mmdprior`` command: ``mmdprior train``, ``mmdprior score`` and so on.

No file of this package imports torch before the options are parsed, so that help answers at once.
"""

import importlib
import sys
from collections.abc import Sequence

from mmdprior.cli.commands import COMMANDS, get_parser
from mmdprior.cli.run import run
from mmdprior.errors import InputError, nearest

__all__ = ["COMMANDS", "get_parser", "main", "run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return run(importlib.import_module(f"mmdprior.cli.{words[0]}").main, words[1:])
    return run(_answer, words)


def _answer(words: Sequence[str]) -> int:
    """Print the help or the version; raise `InputError` for an unknown command."""
    parser = get_parser()
    if words in (["-h"], ["--help"]):
        parser.print_help()
        return 0
    if words and not words[0].startswith("-"):
        raise InputError(f"mmdprior: {words[0]!r} received; {nearest(words[0], COMMANDS)}")
    if words:
        parser.parse_args(words)
    parser.print_help(sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
