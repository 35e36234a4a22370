"""``runs/<name>/<date-time>/``: one directory a run, never shared."""

from datetime import datetime
from pathlib import Path

from mmdprior.errors import InputError, reason

__all__ = ["LAST", "create_run_directory", "last_checkpoint"]

LAST = "last.pt"


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
        (directory / "checkpoints").mkdir()
        (directory / "report").mkdir()
        return directory
    raise InputError(f"--runs: {root} holds a thousand runs of {stamp}; give another")


def last_checkpoint(run: str | Path) -> Path:
    """Return the newest checkpoint of a run directory.

    Raises:
        InputError: no such directory, or none with a checkpoint.
    """
    directory = Path(run)
    if not directory.is_dir():
        raise InputError(f"--resume: {run} is not a folder; give a run directory")
    path = directory / "checkpoints" / LAST
    if not path.is_file():
        raise InputError(f"--resume: {run} holds no checkpoints/{LAST}; start the run anew")
    return path
