"""Where a run's numbers and pictures go."""

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
from mmdprior.figures.charts import CHARTS
from mmdprior.figures.style import pixels
from mmdprior.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Logger", "RunLogger"]

_PROJECTED = 3000


class Logger:
    """Takes everything, keeps nothing: for training without a run directory.

    Attributes:
        pictures: whether pictures are kept, so that it is worth drawing them.
    """

    pictures: bool = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Take numbers by tag."""

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Take one (C, H, W) image in [0, 1]."""

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Take one figure."""

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Take the values of one histogram."""

    def embedding(self, codes: Codes, step: int) -> None:
        """Take codes with their labels."""

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Take a run's settings with its final metrics."""

    def close(self) -> None:
        """Flush and close."""


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Say which file a full disk or a lost one keeps from being written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{place}: not written ({error.strerror or reason(error)}); checkpoints are kept; mend the "
            "disk, then continue with --resume"
        ) from error


class RunLogger(Logger):
    """TensorBoard event files and ``metrics.jsonl`` in a run directory.

    Args:
        directory: of the run.
        start: step at which a resumed run enters; what was logged from there on is dropped, since it
            is logged again.
    """

    pictures = True

    def __init__(self, directory: Path, start: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(
            str(directory), purge_step=start + 1 if start else None, flush_secs=10
        )
        self._directory = directory
        if start == 0:
            with _naming(directory):
                self._writer.add_custom_scalars(CHARTS)
        self._path = directory / "metrics.jsonl"
        if start and self._path.is_file():
            kept = [line for line in self._path.read_text().splitlines() if _step_of(line) <= start]
            write_whole(self._path, "".join(f"{line}\n" for line in kept))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers to both files; NaN stands as null in the JSON lines."""
        with _naming(self._directory):
            for tag, value in values.items():
                if not math.isnan(value):
                    self._writer.add_scalar(tag, value, step)
        plain = {tag: value if math.isfinite(value) else None for tag, value in values.items()}
        with _naming(self._path), self._path.open("a") as lines:
            lines.write(json.dumps({"step": step, **plain}) + "\n")

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Write an image."""
        with _naming(self._directory):
            self._writer.add_image(tag, image, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Write a figure as an image."""
        with _naming(self._directory):
            self._writer.add_image(tag, pixels(figure), step, dataformats="HWC")

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Write a histogram."""
        with _naming(self._directory):
            self._writer.add_histogram(tag, values, step)

    def embedding(self, codes: Codes, step: int) -> None:
        """Write mean codes of at most 3,000 images for the projector, coloured by label."""
        n = len(codes.labels)
        rows = torch.linspace(0, n - 1, min(n, _PROJECTED)).round().long()
        labels, names = codes.labels.cpu()[rows].tolist(), list(codes.label_names)
        texts = [[f"{value:g}" for value in row] if len(row) > 1 else f"{row[0]:g}" for row in labels if row]
        with _naming(self._directory):
            self._writer.add_embedding(
                codes.latent.mean.detach().float().cpu()[rows],
                metadata=texts if names else None,
                metadata_header=names if len(names) > 1 else None,
                global_step=step,
                tag="codes",
            )

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Write settings and metrics into this run's own event file, not into a run beside it."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in settings.items()
        }
        finite = {tag: value for tag, value in metrics.items() if math.isfinite(value)}
        writer = self._writer.file_writer
        if writer is None:
            return
        with _naming(self._directory):
            for summary in hparams(plain, finite):
                writer.add_summary(summary)
            for tag, value in finite.items():
                self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush and close."""
        with _naming(self._directory):
            self._writer.close()


def _step_of(line: str) -> int:
    """Step of one JSON line; a line cut short by a crash counts as after everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62
