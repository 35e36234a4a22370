"""Inverted MNIST: half of the images are inverted at random, and the experts have to find out which."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.mixtures.race import Stopwatch
from torch import Tensor, nn
from torch.nn import functional

from mmdprior.predictors import Mixture
from mmdprior.predictors.descent import anchored
from mmdprior.predictors.em import random_start
from mmdprior.predictors.mixture_fit import FitSettings, MixtureFit, fit_mixture
from mmdprior.seeding import stream

__all__ = ["run"]

CLASSES = 10
_POINTS = 60
"""Iterations at which held-out scores are computed, on a logarithmic scale."""


@dataclass(frozen=True)
class Images:
    """Features, digits and inversions of p problems, one per seed.

    Attributes:
        x: (p, n, D) standardised features with a constant.
        y: (p, n, 1) digits.
        inverted: (p, n) whether an image is inverted.
        scale: (p, 1, D) standard deviation of each feature, relative to their root mean square.
    """

    x: Tensor
    y: Tensor
    inverted: Tensor
    scale: Tensor


def run(setting: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return path, held-out scores and specialisation of one method with K experts."""
    train, test = load(setting, device)
    if setting["method"] == "mlp":
        return {"final": _mlp(train, test, setting)}
    start = _start(train, setting)
    size = None
    if setting["method"] != "em":
        size = _best_step_size(train, start, setting)
    fit, path = _fit(train, test, start, setting, size, setting["iterations"][setting["method"]])
    result = {"step_size": size, "path": path, "final": _scores(fit.mixture, test)}
    if setting["experts"] > 1:
        result["confusion"] = _confusion(fit.mixture, test).tolist()
    return result


def load(setting: dict[str, Any], device: torch.device) -> tuple[Images, Images]:
    """Return training and test images of every seed; the features are those of the training images."""
    files = {split: np.load(Path(setting["data"]) / f"mnist_{split}.npz") for split in ("train", "test")}
    parts: list[tuple[Tensor, ...]] = []
    for seed in range(setting["seeds"]):
        images, digits, inverted = {}, {}, {}
        for split, limit in (("train", setting["train"]), ("test", None)):
            g = stream(seed, f"inverted mnist {split}")
            rows = torch.randperm(len(files[split]["images"]), generator=g)[:limit].numpy()
            pixels = torch.from_numpy(files[split]["images"][rows]).flatten(1).to(device).float() / 255
            inverted[split] = (torch.rand(len(rows), generator=g) < 0.5).to(device)
            images[split] = torch.where(inverted[split][:, None], 1 - pixels, pixels)
            digits[split] = torch.from_numpy(files[split]["factors"][rows]).to(device).float()
        features = _features(images["train"], images["test"], setting["features"])
        parts.append((*features, digits["train"], digits["test"], inverted["train"], inverted["test"]))
    x, x_test, scale, y, y_test, flags, flags_test = (
        torch.stack(column) for column in zip(*parts, strict=True)
    )
    return Images(x, y, flags, scale), Images(x_test, y_test, flags_test, scale)


def _features(train: Tensor, test: Tensor, features: int | str) -> tuple[Tensor, Tensor, Tensor]:
    """Return standardised principal components, or pixels that vary, with a constant; and their scale."""
    mean = train.mean(0)
    if features == "pixels":
        train, test = train - mean, test - mean
    else:
        centred = (train - mean).double()
        basis = torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -int(features) :].flip(1)
        train, test = (((part - mean).double() @ basis).float() for part in (train, test))
    scale = train.std(0)
    scale = torch.where(scale > 1e-3, scale, torch.inf)
    train, test = (torch.cat([part / scale, torch.ones_like(part[:, :1])], 1) for part in (train, test))
    varies = scale.isfinite()
    relative = torch.where(varies, scale, 0.0) / scale[varies].square().mean().sqrt()
    return train, test, torch.cat([relative, torch.ones_like(relative[:1])])[None]


def _start(train: Images, setting: dict[str, Any]) -> Mixture:
    """Return random gates and the experts fitted under them by one Newton step; the same for all methods.

    The direction of a gate is random in the space of pixels or of components as they are. In that of
    standardised ones, a random gate hardly depends on the brightness.
    """
    generators = [stream(seed, "inverted mnist start") for seed in range(setting["seeds"])]
    scale = train.scale if setting["start"] == "plain" else torch.ones_like(train.scale)
    start = random_start(
        train.x * scale,
        train.y,
        setting["experts"],
        "multinomial",
        generators,
        classes=CLASSES,
        ridge=setting["ridge"],
    )
    wide = scale[:, :, None]
    return Mixture(start.gate * wide, start.experts * wide[..., None, :], None)


def _settings(setting: dict[str, Any], size: float | None, steps: int) -> FitSettings:
    return FitSettings(
        setting["method"], steps, tol=0.0, step_size=size or 1.0, ridge=float(setting["ridge"])
    )


def _best_step_size(train: Images, start: Mixture, setting: dict[str, Any]) -> float:
    """Return the step size of the lowest objective of the first problem after some iterations."""
    begin = Mixture(start.gate[:1], start.experts[:1], None)
    sizes = setting["learning_rates" if setting["method"] == "adam" else "step_sizes"]
    ends = []
    for size in sizes:
        fit = fit_mixture(
            train.x[:1], train.y[:1], begin, _settings(setting, size, setting["tuning_iterations"])
        )
        ends.append(torch.inf if bool(fit.diverged.any()) else float(fit.objective[-1]))
    return float(sizes[int(np.argmin(ends))])


def _fit(
    train: Images,
    test: Images,
    start: Mixture,
    setting: dict[str, Any],
    size: float | None,
    steps: int,
) -> tuple[MixtureFit, dict[str, list[Any]]]:
    """Return the fit, and objective and held-out scores at some iterations, per seed."""
    points = {round(v) for v in np.geomspace(1, steps, _POINTS)} | {0, steps}
    path: dict[str, list[Any]] = {
        name: [] for name in ("iterations", "gradients", "seconds", "objective", "accuracy", "cross_entropy")
    }

    watch = Stopwatch(train.x.device)

    def observe(fit: MixtureFit) -> bool:
        watch.stop()
        iteration = len(fit.objective) - 1
        if iteration in points:
            path["iterations"].append(iteration)
            path["gradients"].append(fit.gradients[-1])
            path["seconds"].append(round(watch.laps[-1] / setting["seeds"], 4))
            path["objective"].append(_digits(_objective(fit, setting["ridge"])))
            for name, values in _scores(fit.mixture, test).items():
                path[name].append(values)
        watch.start()
        return False

    fit = fit_mixture(train.x, train.y, start, _settings(setting, size, steps), observe=observe)
    return fit, path


def _objective(fit: MixtureFit, ridge: float) -> Tensor:
    """Return the mean negative log-likelihood with the penalty, which all methods minimise, per seed."""
    mixture = anchored(fit.mixture)
    norms = (part.square().flatten(1).sum(1) for part in (mixture.gate, mixture.experts))
    return fit.objective[-1][:, 0] + 0.5 * ridge * sum(norms)


def _scores(mixture: Mixture, test: Images) -> dict[str, list[float]]:
    """Return held-out accuracy and cross-entropy in nats, per seed."""
    probability = mixture.mean(test.x)[:, :, 0]
    correct = (probability.argmax(2) == test.y[..., 0]).double().mean(1)
    loss = -mixture.log_likelihood(test.x, test.y).mean((1, 2))
    return {"accuracy": _digits(correct), "cross_entropy": _digits(loss)}


def _confusion(mixture: Mixture, test: Images) -> Tensor:
    """Return (p, 2, K) numbers of test images, plain and inverted, per expert of largest gate."""
    expert = functional.one_hot(mixture.log_gate(test.x)[:, :, 0].argmax(2), mixture.gate.shape[2])
    flags = torch.stack([~test.inverted, test.inverted], 1)
    return (flags.double() @ expert.double()).long()


def _mlp(train: Images, test: Images, setting: dict[str, Any]) -> dict[str, list[float]]:
    """Return held-out scores of a network with one hidden layer of 128 units, trained by Adam."""
    accuracy, loss = [], []
    for seed in range(setting["seeds"]):
        torch.manual_seed(seed)
        x, y = train.x[seed], train.y[seed, :, 0].long()
        network = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, CLASSES)).to(x.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(setting["epochs"]):
            for rows in torch.randperm(len(x)).to(x.device).split(128):
                optimizer.zero_grad()
                functional.cross_entropy(network(x[rows]), y[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            logits, digits = network(test.x[seed]), test.y[seed, :, 0].long()
            accuracy.append((logits.argmax(1) == digits).double().mean())
            loss.append(functional.cross_entropy(logits, digits))
    return {"accuracy": _digits(torch.stack(accuracy)), "cross_entropy": _digits(torch.stack(loss))}


def _digits(values: Tensor) -> list[float]:
    return [float(f"{v:.5g}") for v in values.tolist()]
