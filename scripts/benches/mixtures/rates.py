"""EM's local linear rate, measured and predicted by the missing information."""

from typing import Any

import torch
from benches.mixtures.race import quartiles
from benches.mixtures.symmetric import draw

__all__ = ["run"]

_FAR = 20.0
"""A maximiser with a larger norm is taken to be at infinity."""


def run(setting: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return rates at the fixed points, their agreement and the distances to the truth."""
    problems = draw(
        setting["family"],
        range(setting["seeds"]),
        n=setting["n"],
        dim=setting["dim"],
        snr=setting["snr"],
        gate=setting["gate"],
    )
    x, y, truth, start = (part.to(device) for part in problems)
    fixed = start.fixed_point(x, y, em_steps=200)
    exists = fixed.theta.norm(dim=1) < _FAR
    exists &= fixed.gradient(x, y).norm(dim=1) < 1e-8
    predicted, measured = fixed.rate(x, y), fixed.measured_rate(x, y)
    difference = (measured / predicted - 1).abs()
    chosen = exists.nonzero()[:, 0]
    result: dict[str, Any] = {
        "exists": len(chosen),
        "start_error": quartiles((start.theta - truth.theta).norm(dim=1)),
        "error": quartiles(torch.where(exists, (fixed.theta - truth.theta).norm(dim=1), torch.inf)),
    }
    if len(chosen):
        result |= {
            "predicted": quartiles(predicted[chosen]),
            "measured": quartiles(measured[chosen]),
            "largest_difference": float(f"{float(difference[chosen].max()):.3g}"),
        }
    mixture, count = start, torch.full_like(predicted, torch.inf)
    goal = fixed.loss(x, y) + 1e-6
    for iteration in range(setting["iterations"] + 1):
        count = torch.where((mixture.loss(x, y) <= goal) & count.isinf(), float(iteration), count)
        if not bool(count.isinf().any()):
            break
        mixture = mixture.em_step(x, y, 1)
    return result | {"iterations": quartiles(count)}
