"""Weights that a run adjusts by itself, so that a logged quantity stays at a target."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.training.schedules import AdaptiveSchedule
from mmdprior.world import World

__all__ = ["Target"]

RECONSTRUCTION = "loss/reconstruction"
PSNR = "reconstruction/psnr"


class Target(AdaptiveSchedule):
    """A factor on the penalty's weight that holds a quantity of the training batches at a value.

    With the quantity q_t, its running average m_t, and the clipped relative error
    e_t = clip((m_t - value) / scale, -1, 1), the factor exp(s_t) follows

        s_{t+1} = s_t + rate e_t + damping (e_t - e_{t-1}),

    where the sign of the error is reversed for ``loss/reconstruction``, which grows with the weight. The
    first term is the multiplicative update of GECO (Rezende and Viola, arXiv 1810.00597, algorithm 1), for a
    constraint on either part of the loss. By itself it oscillates, since the networks respond to a changed
    weight only after many steps. The second term damps this (Stooke et al., arXiv 2007.03964).

    The state is on the device of the losses, so that no step waits for it. It is part of the checkpoint, and
    equal on all ranks.

    Args:
        quantity: ``loss/reconstruction``; ``reconstruction/psnr`` of the training batch, for images with a
            Gaussian likelihood; ``penalty/value``; or ``penalty/<term>``, such as ``penalty/kl``, or
            ``penalty/standardised`` for the match of an MMD in standard deviations under its null.
        value: value at which the quantity is held.
        scale: distance from the value at which the update has its full size; None, the default, for 1 dB of a
            PSNR and for abs(value) of other quantities.
        rate: change per step of the logarithm of the weight at the full error.
        damping: change of this logarithm per change of the error.
        smoothing: decay of the running average of the quantity, in [0, 1).
        low: smallest factor.
        high: largest factor.

    Raises:
        InputError: an argument out of its range, or a value of 0 without a scale.

    Example:
        >>> schedule = Target("penalty/kl", 20.0)
        >>> for _ in range(100):
        ...     schedule.observe({"penalty/kl": torch.tensor(50.0)})
        >>> round(float(schedule(100)), 2)  # exp(0.01) per step, since the KL is too large
        2.72
    """

    def __init__(
        self,
        quantity: str,
        value: float,
        scale: float | None = None,
        rate: float = 0.01,
        damping: float = 1.0,
        smoothing: float = 0.98,
        low: float = 1e-4,
        high: float = 1e4,
    ) -> None:
        if not math.isfinite(value):
            raise InputError(f"value: {value} received; give a finite number")
        if scale is None and value == 0 and quantity != PSNR:
            raise InputError("scale: missing; give the distance from 0 that counts as a full error")
        if scale is not None and not 0 < scale < math.inf:
            raise InputError(f"scale: {scale} received; give a positive number")
        if not rate > 0 or not damping >= 0:
            raise InputError(f"rate, damping: {rate}, {damping} received; give rate > 0 and damping >= 0")
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing: {smoothing} received; give a share in [0, 1)")
        if not 0 < low <= 1 <= high < math.inf:
            raise InputError(f"low, high: {low}, {high} received; give 0 < low <= 1 <= high")
        self.quantity = quantity
        self.value = float(value)
        self.scale = float(scale or (1.0 if quantity == PSNR else abs(value)))
        self.rate = rate
        self.damping = damping
        self.smoothing = smoothing
        self.limits = (math.log(low), math.log(high))
        self._state: dict[str, Tensor] = {}

    def __call__(self, step: int) -> float | Tensor:
        """Return the present factor; from the second step on a 0-dim tensor on the device of the losses."""
        return self._state["log_factor"].exp() if self._state else 1.0

    def check(self, tags: Collection[str]) -> None:
        """Raise `InputError` unless the quantity is among those of a run."""
        if self.quantity not in tags:
            raise InputError(f"quantity: {self.quantity!r} received; give one of {', '.join(sorted(tags))}")

    @torch.no_grad()
    def observe(self, values: Mapping[str, Tensor], world: World | None = None) -> None:
        """Update the factor by the quantities of a step.

        Args:
            values: quantities of the global batch by tag, 0-dim.
            world: ranks that train together, all of which call this.

        Raises:
            InputError: the quantity is not among them.
        """
        self.check(values)
        value = values[self.quantity].detach().clone()
        if world is not None and world.size > 1:
            # Ranks may round a penalty differently. Their weights must stay equal.
            value = world.sum(value) / world.size
        state = {key: entry.to(value) for key, entry in self._state.items()}
        average = torch.lerp(value, state["average"], self.smoothing) if state else value
        error = ((average - self.value) / self.scale).clamp(-1, 1)
        if self.quantity == RECONSTRUCTION:
            error = -error
        before = state.get("log_factor", torch.zeros_like(error))
        change = self.rate * error + self.damping * (error - state.get("error", error))
        # New tensors in every step: a checkpoint may still be written from the old ones.
        self._state = {
            "average": average,
            "error": error,
            "log_factor": (before + change).clamp(*self.limits),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the running average, the last error and the logarithm of the factor."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`."""
        self._state = dict(state)
