"""The ``mmdprior`` command: ``mmdprior train``, ``mmdprior score`` and so on.

This file imports neither torch nor the commands at its top, so that ``mmdprior --help`` answers at once.
"""

import importlib
import sys
from collections.abc import Sequence

from mmdprior import __version__
from mmdprior.cli.run import run
from mmdprior.cli.streams import until_closed

__all__ = ["COMMANDS", "main", "run"]

COMMANDS = {
    "train": "train from a YAML config, or resume a run",
    "score": "score checkpoints, files of codes or other encoders with LPS",
    "encode": "write the codes of a data set, from a checkpoint",
    "compare": "compare finished runs: table, page, TensorBoard overlays",
    "traverse": "draw what each latent dimension of a checkpoint changes",
    "sample": "decode draws from a prior",
    "sculpt": "give a checkpoint or codes another prior, at the same PSNR",
    "prior": "draw a prior and state what the penalty can detect",
    "study": "run a study: named configs, each with its seeds",
    "sweep": "run a sweep: a grid or a list of settings, each with its seeds",
}
"""Commands with a one-line description each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return run(importlib.import_module(f"mmdprior.cli.{words[0]}").main, words[1:])
    return until_closed(lambda: _answer(words))


def _answer(words: list[str]) -> int:
    """Print the version or the usage."""
    if words == ["--version"]:
        print(f"mmdprior {__version__}")
        return 0
    asked_for_help = words in (["-h"], ["--help"])
    print(_usage(), file=sys.stdout if asked_for_help else sys.stderr)
    return 0 if asked_for_help else 2


def _usage() -> str:
    lines = [f"  {name:10} {description}" for name, description in COMMANDS.items()]
    return "\n".join(["usage: mmdprior COMMAND ...", "", *lines, "", "mmdprior COMMAND --help for each."])


if __name__ == "__main__":
    sys.exit(main())
