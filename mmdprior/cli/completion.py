"""Completion of commands, options and files in a shell, through shtab."""

import argparse
import importlib.util
from typing import Any, NoReturn

from mmdprior.errors import InputError

__all__ = ["add_completion"]

_SHELLS = ("bash", "zsh", "tcsh")
_FOLDERS = ("directory", "figures", "runs", "tensorboard")
_PLAIN = ("overrides",)


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add ``--print-completion SHELL``."""
    parser.add_argument(
        "--print-completion",
        choices=_SHELLS,
        metavar="SHELL",
        action=_PrintCompletion,
        help="print the completion script of a shell",
    )


class _PrintCompletion(argparse.Action):
    """Print the script and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *values: Any, **settings: Any) -> NoReturn:
        if importlib.util.find_spec("shtab") is None:
            raise InputError('--print-completion: needs shtab; pip install "mmdprior[completion]"')
        import shtab

        _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
        print(shtab.complete(parser, shell=values[1]))
        parser.exit()


def _complete_files(parser: argparse.ArgumentParser, files: Any, folders: Any) -> None:
    """Complete the values of all options as paths, unless they have choices or a type."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, files, folders)
        elif action.nargs != 0 and not action.choices and not action.type and action.dest not in _PLAIN:
            action.complete = folders if action.dest in _FOLDERS else files  # type: ignore[attr-defined]
