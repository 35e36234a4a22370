"""The run directory: the name of every file in it, and its lock.

Names inside ``checkpoints/`` belong to `mmdprior.training.retention`; all others are defined here.
"""

import errno
import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from mmdprior.errors import InputError, reason
from mmdprior.training.retention import CHECKPOINTS

__all__ = ["COMPARISON", "CONFIG", "RunDirectory", "create_run_directory"]

try:
    import fcntl
except ImportError:  # Windows has no flock: there nothing stops two runs with the same --directory
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.yaml"
COMPARISON = "comparison"
"""Folder of a plan's comparison page, next to the directories of its runs."""
_REPORT = "report"
_ATTEMPTS = 1000
"""Directories tried per second of the clock, with a number after the time stamp."""


class RunDirectory:
    """The directory of one run, ``runs/<name>/<date-time>/``.

    Args:
        path: path of the directory, which need not exist yet.

    Example:
        >>> run = RunDirectory("runs/small/2025-01-31_12-00-00").create()
        >>> sorted(file.name for file in run.path.iterdir())
        ['checkpoints', 'report']
        >>> run.scores.relative_to(run.path).as_posix(), run.finished
        ('report/test.json', False)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @property
    def config(self) -> Path:
        """Resolved config of the run, YAML."""
        return self.path / CONFIG

    @property
    def commands(self) -> Path:
        """Commands that started and continued the run, one per line."""
        return self.path / "commands.txt"

    @property
    def lock(self) -> Path:
        """File that the process that writes to the directory holds locked; see `claim`."""
        return self.path / "lock"

    @property
    def metrics(self) -> Path:
        """Numbers logged during training, one JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def event_files(self) -> list[Path]:
        """Existing TensorBoard event files."""
        return sorted(self.path.glob("events.out.tfevents.*"))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints; see `mmdprior.training.retention`."""
        return self.path / CHECKPOINTS

    @property
    def trace(self) -> Path:
        """torch.profiler trace of ``--profile``."""
        return self.path / "profile" / "trace.json"

    @property
    def report(self) -> Path:
        """Folder of the final scores, codes and pictures."""
        return self.path / _REPORT

    @property
    def scores(self) -> Path:
        """Scores of the test split, JSON. Written last: it marks the run as finished."""
        return self.report / "test.json"

    @property
    def facts(self) -> Path:
        """Device, versions, seconds and further numbers of the run, JSON."""
        return self.report / "run.json"

    @property
    def codes(self) -> Path:
        """Test codes with labels, and the prior's curves, as NumPy arrays."""
        return self.report / "codes.npz"

    def picture(self, name: str) -> Path:
        """Return the path of a picture of the report.

        Args:
            name: file name with its suffix, such as ``traversals.png``.
        """
        return self.report / name

    @property
    def pictures(self) -> list[Path]:
        """Existing pictures of the report, sorted by name."""
        return [path for path in sorted(self.report.glob("*")) if path.suffix in (".png", ".gif")]

    @property
    def exists(self) -> bool:
        """Whether the directory holds a run: a config, and metrics or a report."""
        return self.config.is_file() and (self.metrics.is_file() or self.report.is_dir())

    @property
    def finished(self) -> bool:
        """Whether the run has trained to its end and scored its test split."""
        return self.scores.is_file()

    def create(self) -> "RunDirectory":
        """Create the directory with its ``checkpoints`` and ``report`` folders, where missing.

        Raises:
            InputError: the path cannot be written.
        """
        try:
            for folder in (self.checkpoints, self.report):
                folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: cannot be written ({reason(error)}); give another") from None
        return self

    def claim(self) -> IO[str]:
        """Lock the directory for this process.

        Returns:
            The lock file. Closing it, or the death of the process, releases the lock.

        Raises:
            InputError: another process holds the lock.
        """
        file = self.lock.open("a+")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A forked DataLoader worker inherits the lock and would hold it after this process died.
                os.register_at_fork(after_in_child=file.close)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise InputError(
                    f"{self.path}: {holder} writes there; wait for it, or give another directory"
                ) from None
            # Any other errno: a file system without locks. Train without one.
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return file

    def remove_temporary_files(self) -> None:
        """Delete half-written files of killed processes. Call only while holding the lock."""
        for folder in (self.path, self.checkpoints, self.report):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def remove_logs(self) -> None:
        """Delete metrics and event files of a start that ended before its first checkpoint."""
        for path in [self.metrics, *self.event_files]:
            path.unlink(missing_ok=True)

    def record_command(self, command: Sequence[str]) -> None:
        """Append a command line to ``commands.txt``."""
        with self.commands.open("a") as file:
            file.write(shlex.join(command) + "\n")


def create_run_directory(root: str | Path, name: str) -> Path:
    """Create a new directory ``root/name/<date-time>`` with its ``checkpoints`` and ``report`` folders.

    Two runs started in the same second get different directories.

    Args:
        root: folder of all runs, created where missing.
        name: name of the run; slashes make nested folders.

    Raises:
        InputError: ``root`` cannot be written.

    Example:
        >>> first, second = (create_run_directory("runs", "small") for _ in range(2))
        >>> first.parent.as_posix(), first == second
        ('runs/small', False)
    """
    for directory in _names(Path(root) / name):
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"--runs: {root} cannot be written ({reason(error)}); give another") from None
        return RunDirectory(directory).create().path
    raise InputError(f"--runs: {root} holds {_ATTEMPTS} runs of this second; give another")


def _names(folder: Path) -> Iterator[Path]:
    """Yield ``<date-time>``, ``<date-time>_1``, ``<date-time>_2``, ..."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(_ATTEMPTS):
        yield folder / (stamp if attempt == 0 else f"{stamp}_{attempt}")
