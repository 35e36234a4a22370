"""Atomic writing of text files."""

import os
from pathlib import Path

from mmdprior.errors import InputError, reason

__all__ = ["write_whole"]


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
