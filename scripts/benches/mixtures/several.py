"""EM against gradient descent on mixtures of several linear experts with free variances."""

from typing import Any

import torch
from benches.mixtures.race import Run, Stopwatch, tuned
from torch import Tensor
from torch.nn import functional

from mmdprior.predictors import Mixture
from mmdprior.predictors.em import random_start
from mmdprior.predictors.mixture_fit import FitSettings, MixtureFit, fit_mixture

__all__ = ["run"]


def run(setting: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the cost of every method until the loss is within the tolerance of the best one."""
    x, y, truth, start = _draw(setting, device)
    best = fit_mixture(x, y, truth, FitSettings(steps=500, tol=1e-9, ridge=0.0)).objective[-1]
    goal = best + setting["tolerance"]
    limit = torch.full_like(goal[:, 0], setting["iterations"])
    methods: dict[str, Any] = {}
    for name, newton_steps in (("em", 20), ("em_1", 1)):
        settings = FitSettings("em", setting["iterations"], newton_steps=newton_steps, ridge=0.0)
        methods[name] = _race(x, y, start, goal, settings).to_dict()
    for name in ("gradient", "gradient_em", "adam"):
        sizes = setting["learning_rates" if name == "adam" else "step_sizes"]

        def race(size: float, limit: Tensor, name: Any = name) -> Run:
            steps = int(limit.max())
            return _race(x, y, start, goal, FitSettings(name, steps, step_size=size, ridge=0.0))

        methods[name] = tuned(race, sizes, limit).to_dict()
    return {"methods": methods}


def _race(x: Tensor, y: Tensor, start: Mixture, goal: Tensor, settings: FitSettings) -> Run:
    """Fit until every loss is at its goal, or changes by less than 1e-12."""
    settings = FitSettings(**{**settings.__dict__, "tol": 1e-12})

    watch, reached = Stopwatch(x.device), torch.zeros_like(goal, dtype=torch.bool)

    def all_reached(fit: MixtureFit) -> bool:
        watch.stop()
        reached.logical_or_(fit.objective[-1] <= goal)
        watch.start()
        return bool(reached.all())

    fit = fit_mixture(x, y, start, settings, observe=all_reached)
    path = torch.stack(fit.objective)[:, :, 0]
    first = (path <= goal[:, 0]).double().argmax(0)
    never = ~reached[:, 0]

    def cost(values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=path.device)[first].masked_fill(
            never, torch.inf
        )

    iterations = cost(list(range(len(path))))
    return Run(
        iterations,
        cost(fit.gradients),
        cost(watch.laps) / len(x),
        (path[-1] - goal[:, 0]).double(),
        torch.full_like(iterations, settings.step_size),
    )


def _draw(setting: dict[str, Any], device: torch.device) -> tuple[Tensor, Tensor, Mixture, Mixture]:
    """Return inputs, targets, truth and start of one problem per seed: experts and gate of norm 2."""
    k, dim, n = setting["experts"], setting["dim"], setting["n"]
    parts = []
    for seed in range(setting["seeds"]):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(1, n, dim, generator=g, dtype=torch.float64)
        drawn = torch.randn(4, 1, 1, k, dim, generator=g, dtype=torch.float64)
        gate, b, dw, db = 2 * functional.normalize(drawn, dim=4)
        gate, dw = gate - gate[:, :, -1:], dw - dw[:, :, -1:]
        truth = Mixture(gate, b, torch.ones(1, 1, k, dtype=torch.float64))
        chosen = torch.multinomial(truth.log_gate(x)[0, :, 0].exp(), 1, generator=g)
        y = (x[0] @ b[0, 0].T).gather(1, chosen)[None]
        y = y + torch.randn(y.shape, generator=g, dtype=torch.float64)
        if setting["start"] == "near":
            start = Mixture(gate + 0.3 * dw, b + 0.3 * db, truth.variance)
        else:
            start = random_start(x, y, k, "linear", [g])
        parts.append((x, y, truth, start))
    columns = list(zip(*parts, strict=True))
    x, y = (torch.cat(column).to(device) for column in columns[:2])
    truth, start = (_stacked(column, device) for column in columns[2:])
    return x, y, truth, start


def _stacked(mixtures: tuple[Mixture, ...], device: torch.device) -> Mixture:
    names = ("gate", "experts", "variance")
    return Mixture(*(torch.cat([getattr(m, name) for m in mixtures]).to(device) for name in names))
