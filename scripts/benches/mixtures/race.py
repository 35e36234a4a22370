"""Races of methods to the best objective, over a batch of problems."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Run", "Stopwatch", "clock", "quartiles", "tuned"]


@dataclass
class Run:
    """Cost of every problem of a batch until it reached the goal; infinite where it did not.

    Attributes:
        iterations: (p,) iterations.
        gradients: (p,) gradients of all rows.
        seconds: (p,) seconds per problem: time of the batch, divided by its size.
        gap: (p,) loss above the goal at the end.
        size: (p,) step size.
    """

    iterations: Tensor
    gradients: Tensor
    seconds: Tensor
    gap: Tensor
    size: Tensor

    def to_dict(self) -> dict[str, Any]:
        reached = self.iterations.isfinite()
        return {
            "reached": int(reached.sum()),
            "problems": len(reached),
            "iterations": quartiles(self.iterations),
            "gradients": quartiles(self.gradients),
            "seconds": quartiles(self.seconds),
            "gap": quartiles(self.gap),
            "step_size": quartiles(self.size),
        }


def quartiles(values: Tensor) -> list[float | None]:
    """Return three quartiles over all problems, to four digits; None where they are infinite."""
    ordered = values.double().sort().values
    places = [round(share * (len(ordered) - 1)) for share in (0.25, 0.5, 0.75)]
    return [float(f"{v:.4g}") if abs(v) != float("inf") else None for v in ordered[places].tolist()]


def tuned(race: Callable[[float, Tensor], Run], sizes: Sequence[float], limit: Tensor) -> Run:
    """Return the run with the step size that is best for each problem.

    Args:
        race: function from a step size and the largest number of iterations per problem to a run.
        sizes: step sizes to try, the most promising first, since a good one shortens the runs of the others.
        limit: (p,) largest number of iterations per problem.
    """
    best: Run | None = None
    for size in sizes:
        run = race(size, limit)
        if best is None:
            best = run
        gap, other = (each.gap.nan_to_num(nan=torch.inf) for each in (run, best))
        better = (run.iterations < best.iterations) | (
            run.iterations.isinf() & best.iterations.isinf() & (gap < other)
        )
        parts = (
            torch.where(better, *pair) for pair in zip(vars(run).values(), vars(best).values(), strict=True)
        )
        best = Run(*parts)
        limit = torch.minimum(limit, best.iterations)
    assert best is not None
    return best


def clock(device: torch.device) -> float:
    """Return the time after all work on the device; CPU time of the process on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


class Stopwatch:
    """Time of a fit without that of its observer.

    Attributes:
        laps: seconds from the start to each call of `stop`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: list[float] = []
        self._spent = 0.0
        self.start()

    def start(self) -> None:
        self._begun = clock(self.device)

    def stop(self) -> None:
        self._spent += clock(self.device) - self._begun
        self.laps.append(self._spent)
