"""``runs/<name>/<date-time>/``: one directory a run, never shared."""

import errno
import os
import shlex
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from mmdprior.errors import InputError, reason

__all__ = [
    "create_run_directory",
    "is_finished",
    "lock_run",
    "make_run_directory",
    "record_command",
    "sweep_leftovers",
]

try:
    import fcntl
except ImportError:  # Windows has no flock; there runs are kept apart by their directories alone
    fcntl = None  # type: ignore[assignment]


_LOCK = "lock"
_COMMANDS = "commands.txt"


def create_run_directory(root: str | Path, name: str) -> Path:
    """Make a new directory for a run with its ``checkpoints`` and ``report`` folders.

    Two runs started in the same second get different directories.

    Raises:
        InputError: a root that cannot be written.
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        directory = Path(root) / name / (stamp if attempt == 0 else f"{stamp}_{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"--runs: {root} cannot be written ({reason(error)}); give another") from None
        return make_run_directory(directory)
    raise InputError(f"--runs: {root} holds a thousand runs of {stamp}; give another")


def make_run_directory(directory: Path) -> Path:
    """Make a directory with its ``checkpoints`` and ``report`` folders, where they are missing.

    Raises:
        InputError: a place that cannot be written.
    """
    try:
        for folder in ("checkpoints", "report"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: cannot be written ({reason(error)}); give another") from None
    return directory


def lock_run(directory: Path) -> IO[str]:
    """Claim a run directory for this process, until the returned file is closed or the process is dead.

    Raises:
        InputError: another process writes there.
    """
    file = (directory / _LOCK).open("a+")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Workers forked from here would keep the lock beyond this process's death.
            os.register_at_fork(after_in_child=file.close)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise InputError(
                f"{directory}: {holder} writes there; wait for it, or give another directory"
            ) from None
        # A file system without locks: nothing can be claimed there.
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def sweep_leftovers(directory: Path) -> None:
    """Delete half-written files of processes that died; the directory is claimed by this one."""
    for folder in (directory, directory / "checkpoints", directory / "report"):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def record_command(directory: Path, command: Sequence[str]) -> None:
    """Add a command to ``commands.txt``, which says how the run was started and continued."""
    with (directory / _COMMANDS).open("a") as file:
        file.write(shlex.join(command) + "\n")


def is_finished(directory: Path) -> bool:
    """Log whether a run has trained to its end and scored its test split."""
    return (directory / "report" / "test.json").is_file()
