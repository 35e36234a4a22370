"""Numbers that change with the step: penalty weights and learning rates.

A schedule is any callable from step to factor; the loop multiplies.
"""

import math
from abc import ABC, abstractmethod

from mmdprior.errors import InputError

__all__ = ["Constant", "Cosine", "Cyclical", "Schedule", "Warmup"]


class Schedule(ABC):
    """A factor between 0 and 1 for every step."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the factor at a step, counted from 0."""


class Constant(Schedule):
    """One, always."""

    def __call__(self, step: int) -> float:
        """Return 1."""
        return 1.0


class Warmup(Schedule):
    """Linear from 0 to 1, then 1.

    Args:
        warmup_steps: length of the rise.
    """

    def __init__(self, warmup_steps: int) -> None:
        self.warmup_steps = _positive("warmup_steps", warmup_steps)

    def __call__(self, step: int) -> float:
        """Return min(1, (step + 1) / warmup_steps)."""
        return min(1.0, (step + 1) / self.warmup_steps)


class Cyclical(Schedule):
    """Repeated linear rises (Fu et al., arXiv 1903.10145).

    Args:
        period: steps a cycle.
        rise: share of a cycle spent rising from 0 to 1; the rest stays at 1.
    """

    def __init__(self, period: int, rise: float = 0.5) -> None:
        self.period = _positive("period", period)
        if not 0 < rise <= 1:
            raise InputError(f"rise: {rise} received; give a share in (0, 1]")
        self.rise = rise

    def __call__(self, step: int) -> float:
        """Return the factor of this place in the cycle."""
        return min(1.0, (step % self.period) / (self.rise * self.period))


class Cosine(Schedule):
    """Linear warm-up, then a half cosine from 1 to ``final`` at the last step.

    Args:
        steps: length of the run.
        warmup_steps: length of the rise.
        final: factor at the end.
    """

    def __init__(self, steps: int, warmup_steps: int = 0, final: float = 0.0) -> None:
        if warmup_steps < 0 or not 0 <= final <= 1:
            raise InputError(
                f"warmup_steps, final: {warmup_steps}, {final} received; give steps >= 0 and a share"
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
