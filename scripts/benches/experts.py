"""EM against gradient descent on mixtures of experts."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benches._symmetric import SymmetricMixture
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors import Mixture, expectation_maximisation

TOLERANCE = 1e-6
MOST = 5000

Run = tuple[int, int, float, bool]
"""Iterations, gradient evaluations, seconds, and whether it arrived."""


def experts(given: argparse.Namespace) -> None:
    """EM against gradient descent, until the mean loss is within 1e-6 of EM's fixed point."""
    print(f"symmetric mixture, n {given.n}, D {given.dim}, |w| 2; medians of {given.seeds} seeds")
    print("start |b|  method              iterations  gradients   seconds  arrived")
    for near in (True, False):
        for scale in (1.0, 2.0, 4.0):
            draws = [draw(seed, given.n, given.dim, scale, near) for seed in range(given.seeds)]
            tell(f"{'near' if near else 'bad':5} {scale:.0f}", [symmetric(*each) for each in draws])
    print(f"linear experts with variances, K {given.experts}, n {given.n}, D {given.dim}, near start")
    tell("near  2", [several(seed, given) for seed in range(given.seeds)])


def tell(label: str, runs: list[dict[str, Run]]) -> None:
    """Print medians over the runs that arrived."""
    for name in runs[0]:
        arrived = [run[name] for run in runs if run[name][3]]
        middle = [statistics.median(run[i] for run in arrived) if arrived else np.nan for i in range(3)]
        shares = f"{len(arrived)}/{len(runs)}"
        print(
            f"{label:8} {name:20} {middle[0]:9.0f} {middle[1]:10.0f} {middle[2]:9.4f}  {shares}", flush=True
        )


def draw(seed: int, n: int, dim: int, scale: float, near: bool) -> tuple[Tensor, Tensor, SymmetricMixture]:
    """Inputs, targets and a start: the truth with 30% noise, or random directions of norm 1."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g, dtype=torch.float64)
    b, w, db, dw = functional.normalize(torch.randn(4, dim, generator=g, dtype=torch.float64))
    truth = SymmetricMixture(scale * b, 2 * w)
    start = SymmetricMixture(truth.b + 0.3 * scale * db, truth.w + 0.6 * dw)
    return x, truth.sample(x, g), start if near else SymmetricMixture(db, dw)


def symmetric(x: Tensor, y: Tensor, start: SymmetricMixture) -> dict[str, Run]:
    """Race the methods from one start to the loss of EM's fixed point."""

    def exact(m: SymmetricMixture) -> tuple[SymmetricMixture, int]:
        after, r = m.em_step(x, y, newton_steps=1), m.expectation(x, y)
        used, moved = 1, np.inf
        while moved > 1e-9 and used < 50:
            gate = after.gate_step(x, r, 1)
            moved, after = float((gate - after.w).norm()), SymmetricMixture(after.b, gate)
            used += 1
        return after, used

    def descent(m: SymmetricMixture) -> tuple[SymmetricMixture, int]:
        b, w = m.gradient(x, y)
        return SymmetricMixture(m.b - b, m.w - w), 1

    fixed = start
    for _ in range(MOST):
        before, fixed = fixed, fixed.em_step(x, y)
        if float((fixed.b - before.b).norm() + (fixed.w - before.w).norm()) < 1e-10:
            break
    goal = float(fixed.loss(x, y)) + TOLERANCE
    methods = {
        "EM": exact,
        "EM, 1 Newton step": lambda m: (m.em_step(x, y, newton_steps=1), 1),
        "gradient, step 1": descent,
    }
    return {name: race(step, start, lambda m: float(m.loss(x, y)), goal) for name, step in methods.items()}


def race(step: Callable[[Any], tuple[Any, int]], m: Any, loss: Callable[[Any], float], goal: float) -> Run:
    """Step until the loss reaches the goal; measuring the loss is not counted."""
    seconds, gradients = 0.0, 0
    for iteration in range(MOST):
        if loss(m) <= goal:
            return iteration, gradients, seconds, True
        begun = time.perf_counter()
        m, used = step(m)
        seconds += time.perf_counter() - begun
        gradients += used
    return MOST, gradients, seconds, False


def several(seed: int, given: argparse.Namespace) -> dict[str, Run]:
    """K linear experts with free variances: EM, and gradient descent at three steps."""
    g = torch.Generator().manual_seed(seed)
    shape = (1, 1, given.experts, given.dim)
    x = torch.randn(1, given.n, given.dim, generator=g, dtype=torch.float64)
    drawn = torch.randn(4, *shape, generator=g, dtype=torch.float64)
    gate, b, dw, db = 2 * functional.normalize(drawn, dim=4)
    gate, dw = gate - gate[:, :, -1:], dw - dw[:, :, -1:]
    truth = Mixture(gate, b, torch.ones(shape[:3], dtype=torch.float64))
    chosen = torch.multinomial(truth.log_gate(x)[0, :, 0].exp(), 1, generator=g)
    y = (x[0] @ b[0, 0].T).gather(1, chosen)[None]
    y = y + torch.randn(y.shape, generator=g, dtype=torch.float64)
    start = Mixture(gate + 0.3 * dw, b + 0.3 * db, truth.variance)

    def loss(m: Mixture) -> float:
        return -float(m.log_likelihood(x, y).mean())

    def em(newton_steps: int) -> Callable[[Mixture], tuple[Mixture, int]]:
        return lambda m: (
            next(expectation_maximisation(x, y, m, ridge=0.0, newton_steps=newton_steps)),
            newton_steps,
        )

    def descent(size: float) -> Callable[[Mixture], tuple[Mixture, int]]:
        def step(m: Mixture) -> tuple[Mixture, int]:
            assert m.variance is not None
            parts = [part.detach().requires_grad_() for part in (m.gate, m.experts, m.variance.log())]
            after = Mixture(parts[0], parts[1], parts[2].exp())
            slopes = torch.autograd.grad(-after.log_likelihood(x, y).mean(), parts)
            w, b, v = (part.detach() - size * slope for part, slope in zip(parts, slopes, strict=True))
            return Mixture(w - w[:, :, -1:], b, v.exp()), 1

        return step

    fixed, goal = start, np.inf
    for _ in range(MOST):
        fixed = em(1)(fixed)[0]
        if goal - loss(fixed) < 1e-13:
            break
        goal = loss(fixed)
    methods = {"EM, 1 Newton step": em(1)} | {f"gradient, step {s:g}": descent(s) for s in (0.3, 1.0, 3.0)}
    return {name: race(step, start, loss, goal + TOLERANCE) for name, step in methods.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py experts", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=10)
    parser.add_argument("--experts", type=int, default=4, help="K of the second part")
    experts(parser.parse_args(arguments))
