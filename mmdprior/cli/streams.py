"""Output to a pipe that the reader has closed, such as ``| head``."""

import os
import select
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["is_closed", "until_closed"]

_SIGPIPE_STATUS = 141
"""Status that shells report for a process which SIGPIPE ends."""


def until_closed(function: Callable[[], int]) -> int:
    """Return the status of a function that prints, or 141 if its output is closed before it ends."""
    try:
        try:
            return function()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not is_closed(sys.stdout) and not is_closed(sys.stderr):
            raise
        for stream in (sys.stdout, sys.stderr):  # Python would print an error when it flushes them at its end
            if is_closed(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return _SIGPIPE_STATUS


def is_closed(stream: Any) -> bool:
    """Return whether a stream is a pipe that its reader has closed."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # no stream, or one that is not a file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
