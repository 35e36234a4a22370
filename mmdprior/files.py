"""Files that are never seen half-written."""

import os
from pathlib import Path

from mmdprior.errors import InputError, reason

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it: there is never half a file.

    Raises:
        InputError: a disk that is full or fails; what was there is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: not written ({error.strerror or reason(error)}); mend the disk") from error
    finally:
        temporary.unlink(missing_ok=True)
