"""The contracts of loggers and callbacks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmdprior.evaluation import Codes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmdprior.training.losses import Losses

__all__ = ["Callback", "Logger"]


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


class Callback:
    """Base class of callbacks, which a `Trainer` calls on every rank with itself as the first argument.

    Override the methods of interest. A callback may read and change the trainer, such as
    ``trainer.weight``. Reading a value of ``losses`` waits for the device, so read it on few steps only.

    Example:
        >>> class StopEarly(Callback):
        ...     def step(self, trainer, losses):
        ...         if trainer.step % 100 == 0 and float(losses.total) < 1.0:
        ...             trainer.steps = trainer.step  # this step is the last one
        >>> StopEarly().start(trainer=None)
    """

    def start(self, trainer: Any) -> None:
        """Called at the start of `Trainer.run`, also when a run is resumed or has no steps left."""

    def step(self, trainer: Any, losses: "Losses") -> None:
        """Called after a step; ``trainer.step`` is the number of steps so far."""

    def validation(self, trainer: Any, values: Mapping[str, Any]) -> None:
        """Called after a validation with its numbers by tag."""

    def end(self, trainer: Any) -> None:
        """Called at the end of `Trainer.run`, also of a run that is stopped and can be resumed."""
