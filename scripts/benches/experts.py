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
MAX_ITERATIONS = 5000

Run = tuple[int, int, float, bool]
"""Iterations, gradient evaluations, seconds, and whether the method converged."""


def experts(options: argparse.Namespace) -> None:
    """Race EM against gradient descent until the mean loss is within 1e-6 of EM's fixed point."""
    print(f"symmetric mixture, n {options.n}, D {options.dim}, |w| 2; medians of {options.seeds} seeds")
    print("start |b|  method              iterations  gradients   seconds  converged")
    for near in (True, False):
        for scale in (1.0, 2.0, 4.0):
            draws = [draw(seed, options.n, options.dim, scale, near) for seed in range(options.seeds)]
            print_medians(f"{'near' if near else 'bad':5} {scale:.0f}", [symmetric(*each) for each in draws])
    print(f"linear experts with variances, K {options.experts}, n {options.n}, D {options.dim}, near start")
    print_medians("near  2", [several(seed, options) for seed in range(options.seeds)])


def print_medians(label: str, runs: list[dict[str, Run]]) -> None:
    """Print medians over the runs that converged."""
    for name in runs[0]:
        converged = [run[name] for run in runs if run[name][3]]
        middle = [statistics.median(run[i] for run in converged) if converged else np.nan for i in range(3)]
        shares = f"{len(converged)}/{len(runs)}"
        print(
            f"{label:8} {name:20} {middle[0]:9.0f} {middle[1]:10.0f} {middle[2]:9.4f}  {shares}", flush=True
        )


def draw(seed: int, n: int, dim: int, scale: float, near: bool) -> tuple[Tensor, Tensor, SymmetricMixture]:
    """Return inputs, targets and a start: the truth with 30 % noise, or random directions of norm 1."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g, dtype=torch.float64)
    b, w, db, dw = functional.normalize(torch.randn(4, dim, generator=g, dtype=torch.float64))
    truth = SymmetricMixture(scale * b, 2 * w)
    start = SymmetricMixture(truth.b + 0.3 * scale * db, truth.w + 0.6 * dw)
    return x, truth.sample(x, g), start if near else SymmetricMixture(db, dw)


def symmetric(x: Tensor, y: Tensor, start: SymmetricMixture) -> dict[str, Run]:
    """Race the methods on the symmetric mixture, from one start."""

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
    for _ in range(MAX_ITERATIONS):
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
    """Step until the loss reaches the goal. Evaluations of the loss are not timed."""
    seconds, gradients = 0.0, 0
    for iteration in range(MAX_ITERATIONS):
        if loss(m) <= goal:
            return iteration, gradients, seconds, True
        begun = time.perf_counter()
        m, used = step(m)
        seconds += time.perf_counter() - begun
        gradients += used
    return MAX_ITERATIONS, gradients, seconds, False


def several(seed: int, options: argparse.Namespace) -> dict[str, Run]:
    """Race EM and gradient descent at three step sizes on K linear experts with free variances."""
    g = torch.Generator().manual_seed(seed)
    shape = (1, 1, options.experts, options.dim)
    x = torch.randn(1, options.n, options.dim, generator=g, dtype=torch.float64)
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
    for _ in range(MAX_ITERATIONS):
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
    parser.add_argument("--experts", type=int, default=4, help="number of experts K in the second part (4)")
    experts(parser.parse_args(arguments))
