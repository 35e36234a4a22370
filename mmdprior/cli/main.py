"""The installed command: ``mmdprior train``, ``mmdprior score`` and so on."""

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence

from mmdprior.errors import InputError, reason
from mmdprior.runs.signals import TerminatedError, raise_on_sigterm

__all__ = ["COMMANDS", "main", "run"]

COMMANDS = ("train", "encode", "score", "prior", "study", "sweep", "compare", "traverse", "sample")
_USAGE = f"usage: mmdprior {{{','.join(COMMANDS)}}} ...   (mmdprior COMMAND --help for each)"


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command; a mistake ends it with one line and status 2, SIGINT with 130, SIGTERM with 143."""
    warnings.simplefilter("ignore")
    try:
        raise_on_sigterm()
        return command(arguments)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print(f"error: out of memory ({reason(error)}); lower sizes such as data.batch_size", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("interrupted; train --resume RUN continues from its last checkpoint", file=sys.stderr)
        return 143 if isinstance(error, TerminatedError) else 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named first."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in COMMANDS:
        print(_USAGE, file=sys.stdout if given in (["-h"], ["--help"]) else sys.stderr)
        return 0 if given in (["-h"], ["--help"]) else 2
    command = importlib.import_module(f"mmdprior.cli.{given[0]}").main
    return run(command, given[1:])


if __name__ == "__main__":
    sys.exit(main())
