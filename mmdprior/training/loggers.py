"""Loggers: where the numbers and pictures of a run go."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes
from mmdprior.figures.charts import CHARTS, SUMMARY
from mmdprior.figures.style import pixels
from mmdprior.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Logger", "RunLogger"]

_PROJECTED = 3000
"""Codes in TensorBoard's projector, which is slow with more."""
_FLUSH_SECONDS = 10


class Logger:
    """No-op logger, and the base class of loggers. Override the methods of what you want to keep.

    Attributes:
        pictures: whether the logger keeps pictures. If False, none are drawn.

    Example:
        >>> class Printer(Logger):
        ...     def scalars(self, values, step):
        ...         print(step, values)
        >>> Printer().scalars({"loss/total": 0.5}, step=10)
        10 {'loss/total': 0.5}
        >>> Printer().close()
    """

    pictures: bool = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by tag."""

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Log a (C, H, W) image in [0, 1]."""

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Log a matplotlib figure."""

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Log a histogram of values."""

    def embedding(self, codes: Codes, step: int) -> None:
        """Log codes with their labels."""

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Log the settings of a run with its final metrics."""

    def close(self) -> None:
        """Flush and close."""


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Re-raise OSError as InputError naming the file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: not written ({error.strerror or reason(error)}); checkpoints are kept; free some disk "
            "space, then continue with --resume"
        ) from error


class RunLogger(Logger):
    """Writes TensorBoard event files, and numbers as JSON lines.

    Args:
        directory: folder of the event files.
        start: step from which a resumed run continues. Entries after it are dropped, since they are logged
            again.
        metrics: file of the JSON lines, one object with ``step`` and numbers by tag per logged step; None
            writes only event files.

    Example:
        >>> logger = RunLogger(Path("run"), metrics=Path("run/metrics.jsonl"))
        >>> logger.scalars({"loss/total": 0.5}, step=10)
        >>> logger.close()
        >>> print(Path("run/metrics.jsonl").read_text().strip())
        {"step": 10, "loss/total": 0.5}
    """

    pictures = True

    def __init__(self, directory: Path, start: int = 0, *, metrics: Path | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(
            str(directory), purge_step=start + 1 if start else None, flush_secs=_FLUSH_SECONDS
        )
        self._directory = directory
        self._metrics = metrics
        if start == 0:
            with _disk_errors(directory):
                self._writer.add_custom_scalars(CHARTS)
        elif metrics is not None and metrics.is_file():
            kept = [line for line in metrics.read_text().splitlines() if _step_of(line) <= start]
            write_whole(metrics, "".join(f"{line}\n" for line in kept))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers to the event file and to the JSON lines, where NaN and infinity become null."""
        with _disk_errors(self._directory):
            for tag, value in values.items():
                if not math.isnan(value):
                    self._writer.add_scalar(tag, value, step)
                    if tag in SUMMARY:
                        self._writer.add_scalar(SUMMARY[tag], value, step)
        if self._metrics is not None:
            plain = {tag: value if math.isfinite(value) else None for tag, value in values.items()}
            with _disk_errors(self._metrics), self._metrics.open("a") as lines:
                lines.write(json.dumps({"step": step, **plain}) + "\n")

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Write an image."""
        with _disk_errors(self._directory):
            self._writer.add_image(tag, image, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Write a figure as an image."""
        with _disk_errors(self._directory):
            self._writer.add_image(tag, pixels(figure), step, dataformats="HWC")

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Write a histogram."""
        with _disk_errors(self._directory):
            self._writer.add_histogram(tag, values, step)

    def embedding(self, codes: Codes, step: int) -> None:
        """Write the mean codes of at most 3,000 images for the projector, coloured by label."""
        n = len(codes.labels)
        rows = torch.linspace(0, n - 1, min(n, _PROJECTED)).round().long()
        labels, names = codes.labels.cpu()[rows].tolist(), list(codes.label_names)
        texts = [[f"{value:g}" for value in row] if len(row) > 1 else f"{row[0]:g}" for row in labels if row]
        with _disk_errors(self._directory):
            self._writer.add_embedding(
                codes.latent.mean.detach().float().cpu()[rows],
                metadata=texts if names else None,
                metadata_header=names if len(names) > 1 else None,
                global_step=step,
                tag="codes",
            )

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Write settings and metrics to the run's event file.

        `SummaryWriter.add_hparams` would write them to a new subfolder, which TensorBoard shows as a second
        run.
        """
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in settings.items()
        }
        finite = {tag: value for tag, value in metrics.items() if math.isfinite(value)}
        writer = self._writer.file_writer
        if writer is None:
            return
        with _disk_errors(self._directory):
            for summary in hparams(plain, finite):
                writer.add_summary(summary)
            for tag, value in finite.items():
                self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush and close."""
        with _disk_errors(self._directory):
            self._writer.close()


def _step_of(line: str) -> int:
    """Return the step of a JSON line; a line cut off by a crash counts as later than any step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62
