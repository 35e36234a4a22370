"""Atomic writing of text files, and paths with environment variables."""

import os
import re
from pathlib import Path

from mmdprior.errors import InputError, reason

__all__ = ["expand", "write_whole"]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically: readers see either the previous content or all of the new one.

    Args:
        path: file to write or replace, in an existing folder.
        text: its content.

    Raises:
        InputError: the file cannot be written, for example on a full disk. The previous content is kept.

    Example:
        >>> from pathlib import Path
        >>> from mmdprior.files import write_whole
        >>> write_whole(Path("scores.json"), "{}")
        >>> Path("scores.json").read_text()
        '{}'
    """
    # The process id keeps two processes that write the same file from sharing the temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)  # atomic, because both names are in one folder
    except OSError as error:
        cause = error.strerror or reason(error)
        raise InputError(f"{path}: not written ({cause}); free some disk space") from error
    finally:
        temporary.unlink(missing_ok=True)


def expand(path: str) -> str:
    """Return a path with ``~`` and environment variables, ``$NAME`` or ``${NAME}``, replaced.

    Args:
        path: path as a user writes it.

    Raises:
        InputError: a variable is not set.

    Example:
        >>> import os
        >>> from mmdprior.files import expand
        >>> os.environ["DATA"] = "/data"
        >>> expand("$DATA/images"), expand("${DATA}2"), expand("plain")
        ('/data/images', '/data2', 'plain')
    """
    if os.path.exists(path):  # a name with a dollar sign
        return path
    for match in _VARIABLE.finditer(path):
        name = match[1] or match[2]
        if name not in os.environ:
            raise InputError(f"{path!r} received; set the environment variable {name}, or give another path")
    filled = _VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], path)
    return os.path.expanduser(filled)
