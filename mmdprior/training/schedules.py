"""Factors that change with the step, for penalty weights and learning rates.

A schedule is any callable from step to factor; the loop multiplies the base value by it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.world import World

__all__ = ["AdaptiveSchedule", "Constant", "Cosine", "Cyclical", "Schedule", "Warmup"]


class Schedule(ABC):
    """Base class of schedules: a factor for every step.

    Example:
        >>> class Halving(Schedule):
        ...     def __call__(self, step):
        ...         return 0.5**step
        >>> Halving()(3)
        0.125
    """

    @abstractmethod
    def __call__(self, step: int) -> float | Tensor:
        """Return the factor at a step, counted from 0; a 0-dim tensor where the CPU must not wait for it."""


class AdaptiveSchedule(Schedule):
    """Base class of schedules of the penalty's weight that depend on the losses, such as `Target`.

    The trainer calls `observe` after every step, and stores `state_dict` in the checkpoint.

    Example:
        A weight that is switched on once the reconstruction loss is below 100:

        >>> import torch
        >>> class OnceBelow(AdaptiveSchedule):
        ...     factor = torch.zeros(())
        ...     def __call__(self, step):
        ...         return self.factor
        ...     def check(self, tags):
        ...         pass
        ...     def observe(self, values, world=None):
        ...         below = values["loss/reconstruction"] < 100.0
        ...         self.factor = torch.maximum(self.factor.to(below.device), below.float())
        ...     def state_dict(self):
        ...         return {"factor": self.factor}
        ...     def load_state_dict(self, state):
        ...         self.factor = state["factor"]
        >>> schedule = OnceBelow()
        >>> schedule.observe({"loss/reconstruction": torch.tensor(80.0)})
        >>> schedule(step=1)
        tensor(1.)
    """

    @abstractmethod
    def check(self, tags: Collection[str]) -> None:
        """Raise `InputError` if the schedule needs a quantity that the run does not have.

        Args:
            tags: quantities that `observe` will receive.
        """

    @abstractmethod
    def observe(self, values: Mapping[str, Tensor], world: World | None = None) -> None:
        """Receive the quantities of a step.

        Args:
            values: quantities of the global batch by tag, 0-dim, on the device of the run.
            world: ranks that train together, all of which call this.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: tensors, numbers and strings."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`."""


class Constant(Schedule):
    """A factor of 1 at every step.

    Example:
        >>> Constant()(1000)
        1.0
    """

    def __call__(self, step: int) -> float:
        """Return 1."""
        return 1.0


class Warmup(Schedule):
    """A linear rise to 1 over the first steps, then 1.

    Args:
        warmup_steps: length of the rise in steps.

    Raises:
        InputError: ``warmup_steps`` is below 1.

    Example:
        >>> schedule = Warmup(4)
        >>> [schedule(step) for step in (0, 1, 3, 100)]
        [0.25, 0.5, 1.0, 1.0]
    """

    def __init__(self, warmup_steps: int) -> None:
        self.warmup_steps = _positive("warmup_steps", warmup_steps)

    def __call__(self, step: int) -> float:
        """Return min(1, (step + 1) / warmup_steps)."""
        return min(1.0, (step + 1) / self.warmup_steps)


class Cyclical(Schedule):
    """Repeated linear rises from 0 to 1, each followed by a plateau at 1 (Fu et al., arXiv 1903.10145).

    Args:
        period: length of a cycle in steps.
        rise: share of a cycle in which the factor rises, in (0, 1].

    Raises:
        InputError: ``period`` is below 1, or ``rise`` is out of range.

    Example:
        >>> schedule = Cyclical(period=10, rise=0.5)
        >>> [schedule(step) for step in (0, 1, 5, 9, 10)]
        [0.0, 0.2, 1.0, 1.0, 0.0]
    """

    def __init__(self, period: int, rise: float = 0.5) -> None:
        self.period = _positive("period", period)
        if not 0 < rise <= 1:
            raise InputError(f"rise: {rise} received; give a share in (0, 1]")
        self.rise = rise

    def __call__(self, step: int) -> float:
        """Return min(1, (step mod period) / (rise * period))."""
        return min(1.0, (step % self.period) / (self.rise * self.period))


class Cosine(Schedule):
    """A linear warm-up to 1, then half a cosine down to ``final`` at the last step.

    Args:
        steps: length of the run in steps.
        warmup_steps: length of the warm-up in steps.
        final: factor at the last step, in [0, 1].

    Raises:
        InputError: ``warmup_steps`` is negative, or ``final`` is out of range.

    Example:
        >>> schedule = Cosine(100, warmup_steps=10)
        >>> [round(schedule(step), 2) for step in (0, 9, 10, 55, 100)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, steps: int, warmup_steps: int = 0, final: float = 0.0) -> None:
        if warmup_steps < 0 or not 0 <= final <= 1:
            raise InputError(
                f"warmup_steps, final: {warmup_steps}, {final} received; give warmup_steps >= 0 and final "
                "in [0, 1]"
            )
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.final = final

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{name}: {value} received; give at least 1 step")
    return value
