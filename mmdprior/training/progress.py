"""Progress of a training: a bar on a terminal, a line per minute anywhere else."""

import sys
import time

from tqdm import tqdm

__all__ = ["Progress"]

_SECONDS = 60.0


class Progress:
    """Shows step, rate, loss and remaining time on standard error.

    On a terminal it is a bar. Off a terminal, such as in the log of a cluster job, it is a line per minute.

    Args:
        steps: number of steps of the training.
        step: step at which it starts.
        shown: whether anything is shown.
        seconds: time between two lines off a terminal.

    Example:
        >>> progress = Progress(steps=10, step=0, shown=False)
        >>> progress.update(1)
        >>> progress.loss(0.5)
        >>> progress.close()
    """

    def __init__(self, steps: int, step: int, *, shown: bool, seconds: float = _SECONDS) -> None:
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=not (shown and on_terminal))
        self._has_lines = shown and not on_terminal and sys.stderr is not None
        self._steps, self._seconds = steps, seconds
        self._loss = ""
        self._step, self._time = step, time.monotonic()

    def update(self, step: int) -> None:
        """Count one step.

        Args:
            step: number of steps so far.
        """
        self._bar.update()
        now = time.monotonic()
        if self._has_lines and now - self._time >= self._seconds and step < self._steps:
            rate = (step - self._step) / (now - self._time)
            remaining = tqdm.format_interval((self._steps - step) / rate)
            line = f"step {step}/{self._steps}, {rate:.3g} steps/s{self._loss}, {remaining} left"
            print(line, file=sys.stderr, flush=True)
            self._step, self._time = step, now

    def loss(self, value: float) -> None:
        """Show a loss from now on.

        Args:
            value: the loss.
        """
        self._loss = f", loss {value:.4g}"
        self._bar.set_postfix_str(self._loss[2:], refresh=False)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
