"""Key paths in front of errors that name an argument only."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mmdprior.errors import InputError, reason

__all__ = ["at"]


@contextmanager
def at(path: str) -> Iterator[None]:
    """Put the key path before an error that names an argument only."""
    try:
        yield
    except InputError as error:
        text = str(error)
        if text.startswith(path.split(".")[0]):
            raise
        last = path.rpartition(".")[2]
        if text.startswith(f"{last}:"):
            raise InputError(path + text.removeprefix(last)) from None
        names_argument = re.match(r"[a-z_]\w*(, \w+)*: ", text)
        raise InputError(f"{path}.{text}" if names_argument else f"{path}: {text}") from None
    except (Exception, SystemExit) as error:  # whatever the user's own code, or an impossible size, brings up
        raise InputError(f"{path}: does not work ({type(error).__name__}: {reason(error)})") from error
