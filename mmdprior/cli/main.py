"""The installed command: ``mmdprior train``, ``mmdprior encode``, ``mmdprior score``, ``mmdprior prior``."""

import sys
import warnings
from collections.abc import Callable, Sequence

from mmdprior.errors import InputError

__all__ = ["main", "run"]

_USAGE = "usage: mmdprior {train,encode,score,prior} ...   (mmdprior COMMAND --help for each)"


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command; a user's mistake ends it with one line and status 2, Ctrl-C with 130."""
    warnings.simplefilter("ignore")
    try:
        return command(arguments)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; train --resume RUN continues from its last checkpoint",
            file=sys.stderr,
        )
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named first."""
    from mmdprior.cli import encode, prior, score, train

    commands = {"train": train.main, "encode": encode.main, "score": score.main, "prior": prior.main}
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in commands:
        print(_USAGE, file=sys.stdout if given in (["-h"], ["--help"]) else sys.stderr)
        return 0 if given in (["-h"], ["--help"]) else 2
    return run(commands[given[0]], given[1:])


if __name__ == "__main__":
    sys.exit(main())
