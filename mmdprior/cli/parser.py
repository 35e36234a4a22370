"""The argument parser of all commands."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mmdprior.cli.options import add_verbosity
from mmdprior.cli.repeatable import Repeatable
from mmdprior.errors import InputError, nearest

__all__ = ["Parser", "parse"]


class Parser(argparse.ArgumentParser):
    """Parser whose help states choices and defaults, and which raises `InputError` with one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument, with its choices and its default in its help."""
        choices, default = settings.get("choices"), settings.get("default")
        if settings.get("nargs") == "+" and names[0].startswith("-"):
            settings["action"] = Repeatable
        about, mark, fallback = (settings.get("help") or "").partition(" (default: ")
        text = [about] if about else []
        if choices is not None:
            settings.setdefault("metavar", names[-1].lstrip("-").upper().replace("-", "_"))
            text.append(f"one of {', '.join(choices)}")
        if not (default is None or default is False or default in ([], argparse.SUPPRESS)):
            mark, words = " (default: ", default if isinstance(default, list) else [default]
            fallback = f"{' '.join(map(str, words))})"
        settings["help"] = f"{'; '.join(text)}{mark}{fallback}".replace("%", "%%")
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`."""
        raise InputError(f"{self.prog.rpartition(' ')[2]}: {message} (--help lists the options)")


def parse(
    name: str, add_options: Callable[[Parser], None], arguments: Sequence[str], description: str | None
) -> argparse.Namespace:
    """Return the options of a command; an unknown, abbreviated or invalid one raises `InputError`.

    Args:
        name: name of the command.
        add_options: adds its options to a parser.
        arguments: words after the name.
        description: first lines of its help.
    """
    parser = Parser(prog=f"mmdprior {name}", description=description, allow_abbrev=False)
    add_options(parser)
    add_verbosity(parser)
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        hint = nearest(unknown[0], parser._option_string_actions)
        raise InputError(f"{name}: {unknown[0]}: unknown option; {hint}")
    return options
