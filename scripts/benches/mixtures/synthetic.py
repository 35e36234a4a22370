"""EM against gradient descent on symmetric mixtures of two experts."""

from collections.abc import Callable
from typing import Any

import torch
from benches.mixtures.race import Run, clock, tuned
from benches.mixtures.symmetric import SymmetricMixture, draw
from torch import Tensor

__all__ = ["run"]

Step = Callable[[SymmetricMixture, Tensor, Tensor, list[Tensor]], tuple[SymmetricMixture, int]]
"""Mixture, inputs, targets and memory per problem -> next mixture, and the gradients computed."""

INNER_STEPS = 5


def run(setting: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the cost of every method until the loss is within the tolerance of the best one."""
    problems = draw(
        setting["family"],
        range(setting["seeds"]),
        n=setting["n"],
        dim=setting["dim"],
        snr=setting["snr"],
        gate=setting["gate"],
        near=setting["start"] == "near",
    )
    x, y, truth, start = (part.to(device) for part in problems)
    goal = truth.fixed_point(x, y).loss(x, y) + setting["tolerance"]
    limit = torch.full_like(goal, setting["iterations"])
    methods: dict[str, Any] = {}
    for name, newton_steps in (("em", 20), ("em_1", 1)):
        methods[name] = race(x, y, start, goal, _em(newton_steps), limit).to_dict()
    for name, make in (("gradient", _gradient), ("gradient_em", _gradient_em), ("adam", _adam)):
        sizes = setting["learning_rates" if name == "adam" else "step_sizes"]

        def race_of(size: float, limit: Tensor, make: Any = make) -> Run:
            return race(x, y, start, goal, make(size), limit, size)

        methods[name] = tuned(race_of, sizes, limit).to_dict()
    return {"methods": methods}


def _em(newton_steps: int) -> Step:
    def step(m: SymmetricMixture, x: Tensor, y: Tensor, memory: list[Tensor]) -> tuple[SymmetricMixture, int]:
        counts = [1]
        return m.em_step(x, y, newton_steps, counts), max(counts)

    return step


def _gradient(size: float) -> Step:
    def step(m: SymmetricMixture, x: Tensor, y: Tensor, memory: list[Tensor]) -> tuple[SymmetricMixture, int]:
        return SymmetricMixture.of(m.theta - size * m.gradient(x, y), m.family), 1

    return step


def _gradient_em(size: float) -> Step:
    """Return several gradient steps on EM's surrogate; one would be gradient descent."""

    def step(m: SymmetricMixture, x: Tensor, y: Tensor, memory: list[Tensor]) -> tuple[SymmetricMixture, int]:
        r = m.expectation(x, y)
        for _ in range(INNER_STEPS):
            m = SymmetricMixture.of(m.theta - size * m.gradient(x, y, r), m.family)
        return m, INNER_STEPS

    return step


def _adam(size: float) -> Step:
    taken = 0

    def step(m: SymmetricMixture, x: Tensor, y: Tensor, memory: list[Tensor]) -> tuple[SymmetricMixture, int]:
        nonlocal taken
        taken += 1
        slope = m.gradient(x, y)
        if not memory:
            memory[:] = [torch.zeros_like(slope), torch.zeros_like(slope)]
        memory[0] = 0.9 * memory[0] + 0.1 * slope
        memory[1] = 0.999 * memory[1] + 0.001 * slope.square()
        scale = (memory[1] / (1 - 0.999**taken)).sqrt() + 1e-8
        return SymmetricMixture.of(m.theta - size * memory[0] / (1 - 0.9**taken) / scale, m.family), 1

    return step


def race(
    x: Tensor, y: Tensor, m: SymmetricMixture, goal: Tensor, step: Step, limit: Tensor, size: float = 1.0
) -> Run:
    """Step until every loss is at its goal. Evaluations of the loss are not timed.

    Problems that are done, have reached their limit or diverged leave the batch when they are half of it.
    """
    cost = torch.full((3, len(x)), torch.inf, dtype=torch.float64, device=x.device)
    gap = torch.full_like(cost[0], torch.inf)
    sizes = torch.full_like(cost[0], size)
    memory: list[Tensor] = []
    problems, done = torch.arange(len(x), device=x.device), torch.zeros_like(cost[0], dtype=torch.bool)
    used = torch.zeros(3, dtype=torch.float64, device=x.device)  # iterations, gradients, seconds
    while True:
        above = m.loss(x, y) - goal
        gap[problems[~done]] = above[~done]
        new = (above <= 0) & ~done
        cost[:, problems[new]] = used[:, None]
        done |= new | (used[0] >= limit) | ~above.isfinite()
        if bool(done.all()):
            return Run(*cost, gap, sizes)
        if 2 * int(done.sum()) >= len(done):
            x, y, goal, limit, problems = (part[~done] for part in (x, y, goal, limit, problems))
            memory[:] = [part[~done] for part in memory]
            m, done = SymmetricMixture.of(m.theta[~done], m.family), done[~done]
        begun = clock(x.device)
        m, gradients = step(m, x, y, memory)
        used += torch.tensor([1.0, gradients, (clock(x.device) - begun) / len(x)], device=x.device)
