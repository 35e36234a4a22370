"""Memory that a training step on a CPU frees and allocates again."""

import ctypes
import os

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt in the header malloc.h of glibc."""
_KEPT = 2**29
"""Bytes at the end of the heap that are not returned to the operating system."""
_BLOCK = 2**30
"""Bytes from which a block is allocated outside the heap."""
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next allocation, up to 512 MiB.

    By default glibc returns large freed blocks to the operating system. The activations of every training
    step then consist of new pages, which the system has to clear. Depending on the order of the blocks in
    memory, this can add a quarter to the time of a step of small convolutional networks, for a whole run.

    The setting holds for the process. Nothing is changed for other C libraries, or if an environment variable
    has configured glibc (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES).

    Returns:
        Whether the setting was changed.

    Example:
        >>> from mmdprior.runs.heap import keep_freed_memory
        >>> isinstance(keep_freed_memory(), bool)
        True
    """
    if os.name != "posix" or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Setting one threshold turns off that glibc adapts both.
    return bool(mallopt(_MMAP_THRESHOLD, _BLOCK)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
