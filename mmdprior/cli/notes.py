"""Summaries of data sets and warnings about the input, as lines of a command's output."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from mmdprior.errors import DATA_LOG, InputWarning

__all__ = ["one_line_notes"]


@contextlib.contextmanager
def one_line_notes(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Print data set summaries and warnings about the input; hide other warnings.

    Args:
        quiet: print none of these.
        verbose: print other warnings, too.
    """
    log, handler = logging.getLogger(DATA_LOG), logging.Handler()
    handler.emit = lambda record: print(record.getMessage(), flush=True)  # type: ignore[method-assign]
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if verbose else "ignore")  # default: each text once
            warnings.simplefilter("ignore" if quiet else "default", InputWarning)
            warnings.showwarning = _print_warning
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _print_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    print(f"warning: {message}", flush=True)
