"""Run one command: one-line errors and exit statuses."""

import sys
import traceback
from collections.abc import Callable, Sequence

from mmdprior.cli.notes import one_line_notes
from mmdprior.cli.options import is_quiet, is_verbose
from mmdprior.cli.streams import is_closed, until_closed
from mmdprior.errors import InputError, in_one_line, reason

__all__ = ["run"]


def run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command and return its exit status.

    Bad input is printed as one line with status 2, with ``--verbose`` after its traceback. SIGINT ends the
    command with status 130, SIGTERM with 143. A pipe that its reader has closed, such as ``| head``, ends it
    with 141.
    """
    return until_closed(lambda: _run(command, arguments))


def _run(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    from mmdprior.runs.signals import TerminatedError, raise_on_sigterm

    try:
        raise_on_sigterm()
        with one_line_notes(quiet=is_quiet(arguments), verbose=is_verbose(arguments)):
            return command(arguments)
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and (is_closed(sys.stdout) or is_closed(sys.stderr)):
            raise
        return _failed(f"error: {in_one_line(error)}", arguments)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        line = f"error: out of memory ({reason(error)}); lower sizes such as data.batch_size"
        return _failed(line, arguments)
    except KeyboardInterrupt as error:
        print("interrupted; to continue a training run: mmdprior train --resume RUN", file=sys.stderr)
        return 143 if isinstance(error, TerminatedError) else 130


def _failed(line: str, arguments: Sequence[str]) -> int:
    """Print the line of the exception that is being handled, and return its status."""
    if is_verbose(arguments):
        traceback.print_exc()
    print(line, file=sys.stderr)
    return 2
