"""Run one command: one-line errors and exit statuses."""

import sys
import warnings
from collections.abc import Callable, Sequence

from mmdprior.errors import InputError, reason

__all__ = ["run"]


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command and return its exit status.

    Bad input is printed as one line with status 2. SIGINT ends the command with status 130, SIGTERM with 143.
    """
    from mmdprior.runs.signals import TerminatedError, raise_on_sigterm

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
