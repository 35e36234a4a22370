"""A SHA-256 of a whole zip file, kept in the file's own comment, where zip readers leave it alone.

The checksums inside a zip cover the contents of its entries, but neither their headers nor the padding
between them; this one covers every byte before itself.
"""

import hashlib
import struct
from pathlib import Path
from typing import IO

__all__ = ["has_checksum", "intact", "seal"]

_MARK = b"mmdprior sha256 "
_DIGEST = 64
_CHUNK = 2**20
_END_OF_ZIP = b"PK\x05\x06"
_END_SIZE = 22


def seal(file: IO[bytes]) -> None:
    """Add the checksum to a zip file without a comment, open for reading and writing."""
    file.seek(-_END_SIZE, 2)
    end = file.read()
    if end[:4] != _END_OF_ZIP or end[-2:] != b"\0\0":
        raise ValueError("not a zip file without a comment")
    file.seek(-2, 2)
    file.write(struct.pack("<H", len(_MARK) + _DIGEST) + _MARK)
    size = file.tell()
    digest = _digest(file, size)
    file.seek(size)
    file.write(digest)


def has_checksum(path: str | Path) -> bool:
    """Tell whether a file says that it ends with a checksum; a damaged one may no longer say so."""
    with Path(path).open("rb") as file:
        if file.seek(0, 2) < len(_MARK) + _DIGEST:
            return False
        file.seek(-len(_MARK) - _DIGEST, 2)
        return file.read(len(_MARK)) == _MARK


def intact(path: str | Path) -> bool:
    """Tell whether a file with a checksum is as it was written."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2) - _DIGEST
        file.seek(size)
        return file.read() == _digest(file, size)


def _digest(file: IO[bytes], size: int) -> bytes:
    """Return the hexadecimal digest of a file's first bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        chunk = file.read(min(_CHUNK, size))
        if not chunk:
            break
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()
