"""Which prior fixes the axes of codes: MCC of codes with the sources of mixtures, without labels.

bench.py axes                             # the table: means and standard deviations over seeds
bench.py axes --sources uniform --priors gaussian uniform --mixtures linear --seeds 0 1 2

Four independent sources of variance 1 are mixed to eight features. An autoencoder with four codes is trained
on them with an MMD penalty to a prior, by a Laplacian kernel. Codes that match a Gaussian prior may be any
rotation of the sources. A product of other marginals leaves permutations and signs, if the networks are
linear. FastICA, which assumes no prior, is the yardstick. MCC is the mean absolute correlation of the best
one-to-one assignment of codes to sources, on held-out rows.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mmdprior.kernels import Laplacian
from mmdprior.metrics.supervised.correlation import best_match
from mmdprior.models import (
    Autoencoder,
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    add_linear_skip,
    fit_fastica,
    fit_pca,
)
from mmdprior.priors import Gaussian, GaussianMixture, Laplace, Prior, Product, Uniform
from mmdprior.regularizers import MMD
from mmdprior.seeding import stream

D, FEATURES = 4, 8
TRAIN, TEST, BATCH = 20_000, 5_000, 256
LEARNING_RATE = 5e-3
MATCHED = "that of the sources"
ROOT3 = math.sqrt(3)

PRIORS: dict[str, Callable[[], Prior]] = {
    "gaussian": lambda: Gaussian(D),
    "uniform": lambda: Uniform(D, -ROOT3, ROOT3),
    "laplace": lambda: Laplace(D, scale=1 / math.sqrt(2)),
    # Two peaks per dimension, of variance 1: 0.9^2 + 0.19.
    "mixture": lambda: Product([GaussianMixture([[-0.9], [0.9]], scale=math.sqrt(0.19)) for _ in range(D)]),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py axes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sources", nargs="+", default=list(PRIORS), choices=list(PRIORS), help="their marginals"
    )
    parser.add_argument(
        "--priors", nargs="+", default=["gaussian", MATCHED], choices=[MATCHED, *PRIORS], help="priors"
    )
    parser.add_argument("--mixtures", nargs="+", default=list(MIXTURES), choices=list(MIXTURES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="updates per autoencoder (1000)")
    parser.add_argument("--weight", type=float, default=64.0, help="weight of the penalty (64)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    titles = ["mixture", "sources", *(f"prior: {name}" for name in options.priors), "PCA", "FastICA"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for mixture in options.mixtures:
        for sources in options.sources:
            scores = [measure(mixture, sources, seed, options) for seed in options.seeds]
            cells = [cell([run[name] for run in scores]) for name in scores[0]]
            print(f"| {' | '.join([mixture, sources, *cells])} |", flush=True)
    print(f"{time.process_time() - start:.0f} s of CPU time")


def cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def measure(mixture: str, name: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return the MCC of codes with each prior, of PCA and of FastICA."""
    generator = stream(seed, "axes")
    sources = PRIORS[name]().sample(TRAIN + TEST, generator)
    x = MIXTURES[mixture][0](sources, generator)
    train, test, truth = x[:TRAIN], x[TRAIN:], sources[TRAIN:]
    scores = {
        prior: mcc(
            codes_of(mixture, train, test, PRIORS[name if prior == MATCHED else prior](), seed, options),
            truth,
        )
        for prior in options.priors
    }
    for title, fit in (("PCA", fit_pca), ("FastICA", fit_fastica)):
        pca = fit(lambda: train.split(5000), D)
        scores[title] = mcc((test - pca.mean) @ pca.projection, truth)
    return scores


def linear(sources: Tensor, generator: torch.Generator) -> Tensor:
    """Return the sources times a random matrix of condition number 3."""
    left = torch.linalg.qr(torch.randn(FEATURES, D, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    return sources @ right @ torch.diag(torch.linspace(1, 3, D)) @ left.T


def nonlinear(sources: Tensor, generator: torch.Generator) -> Tensor:
    """Return a linear mixture whose features each pass through a smooth invertible function."""
    x = linear(sources, generator)
    x = x / x.std(0)
    return linear(0.7 * x[:, :D] + 0.6 * torch.tanh(1.5 * x[:, :D]), generator)


MIXTURES = {
    "linear": (linear, LinearEncoder, LinearDecoder),
    "linear, MLP": (linear, MLPEncoder, MLPDecoder),
    "nonlinear, MLP": (nonlinear, MLPEncoder, MLPDecoder),
}
"""How sources become features, and the networks of the autoencoder."""


def codes_of(
    mixture: str, train: Tensor, test: Tensor, prior: Prior, seed: int, options: argparse.Namespace
) -> Tensor:
    """Train an autoencoder with an MMD penalty to the prior, and return the codes of the test rows."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        _, *networks = MIXTURES[mixture]
        hidden = {} if mixture == "linear" else {"hidden": [32, 32]}
        encoder, decoder = (make((FEATURES,), D, **hidden) for make in networks)
    model = add_linear_skip(Autoencoder(encoder, decoder), fit_pca(lambda: train.split(5000), D), (FEATURES,))
    penalty = MMD(prior, Laplacian(), seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    generator = stream(seed, "batches")
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * step / options.steps))
        rows = train[torch.randint(len(train), (BATCH,), generator=generator)]
        latent, output = model(rows)
        loss = model.likelihood.loss(output, rows) + options.weight * penalty(latent, step=step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval().encode(test).mean


def mcc(codes: Tensor, sources: Tensor) -> float:
    """Return the mean absolute correlation of the best one-to-one assignment of codes to sources."""
    correlation = torch.corrcoef(torch.cat([codes, sources], 1).T)[:D, D:].abs().double()
    return float(correlation[best_match(correlation), range(D)].mean())
