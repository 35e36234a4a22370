"""Loggers: where the numbers and pictures of a run go."""

import hashlib
import importlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mmdprior.errors import InputError, reason
from mmdprior.evaluation import Codes
from mmdprior.figures.charts import CHARTS, SUMMARY
from mmdprior.figures.style import pixels
from mmdprior.files import write_whole
from mmdprior.training.logger import Logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["JSONLines", "Logger", "Loggers", "MLflow", "RunLogger", "WandB"]

_PROJECTED = 3000
"""Codes in TensorBoard's projector, which is slow with more."""
_FLUSH_SECONDS = 10


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


class JSONLines(Logger):
    """Writes numbers as JSON lines, one object with ``step`` and numbers by tag per logged step.

    Args:
        path: file of the lines.
        start: step from which a resumed run continues. Lines after it are dropped, since they are logged
            again.

    Example:
        >>> logger = JSONLines(Path("metrics.jsonl"))
        >>> logger.scalars({"loss/total": 0.5}, step=10)
        >>> print(Path("metrics.jsonl").read_text().strip())
        {"step": 10, "loss/total": 0.5}
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        if start and path.is_file():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= start]
            write_whole(path, "".join(f"{line}\n" for line in kept))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers; NaN and infinity become null."""
        plain = {tag: value if math.isfinite(value) else None for tag, value in values.items()}
        with _disk_errors(self._path), self._path.open("a") as lines:
            lines.write(json.dumps({"step": step, **plain}) + "\n")


class Loggers(Logger):
    """Several loggers as one.

    Args:
        loggers: each receives everything, in this order.

    Example:
        >>> first, second = JSONLines(Path("a.jsonl")), JSONLines(Path("b.jsonl"))
        >>> Loggers([first, second]).scalars({"loss/total": 0.5}, step=10)
        >>> Path("a.jsonl").read_text() == Path("b.jsonl").read_text()
        True
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)
        self.pictures = any(logger.pictures for logger in loggers)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by tag."""
        for logger in self._loggers:
            logger.scalars(values, step)

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Log a (C, H, W) image in [0, 1]."""
        for logger in self._loggers:
            logger.image(tag, image, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Log a matplotlib figure."""
        for logger in self._loggers:
            logger.figure(tag, figure, step)

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Log a histogram of values."""
        for logger in self._loggers:
            logger.histogram(tag, values, step)

    def embedding(self, codes: Codes, step: int) -> None:
        """Log codes with their labels."""
        for logger in self._loggers:
            logger.embedding(codes, step)

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Log the settings of a run with its final metrics."""
        for logger in self._loggers:
            logger.hparams(settings, metrics, step)

    def close(self) -> None:
        """Flush and close all."""
        for logger in self._loggers:
            logger.close()


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
        self._lines = None if metrics is None else JSONLines(metrics, start)
        if start == 0:
            with _disk_errors(directory):
                self._writer.add_custom_scalars(CHARTS)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers to the event file and to the JSON lines, where NaN and infinity become null."""
        with _disk_errors(self._directory):
            for tag, value in values.items():
                if not math.isnan(value):
                    self._writer.add_scalar(tag, value, step)
                    if tag in SUMMARY:
                        self._writer.add_scalar(SUMMARY[tag], value, step)
        if self._lines is not None:
            self._lines.scalars(values, step)

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


class WandB(Logger):
    """Logs numbers, pictures and final metrics to Weights & Biases. A resumed run continues there.

    Args:
        directory: run directory, in which W&B keeps its files.
        name: name of the run.
        settings: resolved config of the run.
        project: W&B project.
        mode: ``online``, ``offline`` (upload later with ``wandb sync``) or ``disabled``.
        entity: W&B user or team; None for the default of the account.
        pictures: whether images and figures are logged.

    Raises:
        InputError: wandb is not installed.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        settings: Mapping[str, Any],
        project: str = "mmdprior",
        mode: Literal["online", "offline", "disabled"] = "online",
        entity: str | None = None,
        pictures: bool = True,
    ) -> None:
        self._wandb = client("wandb")
        self.pictures = pictures
        self._run = self._wandb.init(
            project=project,
            entity=entity,
            name=name,
            id=_identity(directory),
            resume="allow",
            dir=str(directory),
            mode=mode,
            config=dict(settings),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by tag."""
        self._run.log({**values, "step": step})

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Log an image."""
        self._run.log({tag: self._wandb.Image(image.detach().cpu()), "step": step})

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Log a figure as an image."""
        self._run.log({tag: self._wandb.Image(pixels(figure)), "step": step})

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Log the final metrics as the summary of the run."""
        self._run.summary.update({tag: value for tag, value in metrics.items() if math.isfinite(value)})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow(Logger):
    """Logs settings, numbers and figures to MLflow. A resumed run is a new MLflow run.

    Args:
        name: name of the run.
        settings: resolved config of the run.
        experiment: MLflow experiment.
        tracking_uri: server or folder; None for MLflow's default, such as ``MLFLOW_TRACKING_URI``.
        pictures: whether figures are logged.

    Raises:
        InputError: mlflow is not installed.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        experiment: str = "mmdprior",
        tracking_uri: str | None = None,
        pictures: bool = True,
    ) -> None:
        self._mlflow = client("mlflow")
        self.pictures = pictures
        if tracking_uri is not None:
            self._mlflow.set_tracking_uri(tracking_uri)
        self._mlflow.set_experiment(experiment)
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_dict(dict(settings), "config.json")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by tag."""
        finite = {tag: value for tag, value in values.items() if math.isfinite(value)}
        self._mlflow.log_metrics(finite, step=step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Log a figure as a file."""
        self._mlflow.log_figure(figure, f"{tag}/{step:08d}.png")

    def hparams(self, settings: Mapping[str, object], metrics: Mapping[str, float], step: int) -> None:
        """Log the settings as parameters, and the final metrics."""
        self._mlflow.log_params(settings)
        self.scalars(metrics, step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def client(name: str) -> Any:
    """Import the client of a logger."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name!r} is not installed; pip install {name}") from None


def _identity(directory: Path) -> str:
    """Return an identifier of a run directory that stays the same when the run is resumed."""
    return hashlib.sha1(str(directory.resolve()).encode()).hexdigest()[:16]


def _step_of(line: str) -> int:
    """Return the step of a JSON line; a line cut off by a crash counts as later than any step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 2**62
