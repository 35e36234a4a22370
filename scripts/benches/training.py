"""Train codes to every prior of the package; a classifier then separates held-out codes from prior draws."""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from benches._sprite_codes import SPRITE_PRIORS, SPRITE_WEIGHT, sprite_images, train_on_sprites
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from mmdprior import MMD
from mmdprior.figures.prior_figure import overlay
from mmdprior.flows import FlowSettings, fit_bijection
from mmdprior.kernels import WAE_IMQ, Laplacian
from mmdprior.metrics import PriorMatch
from mmdprior.priors import (
    Affine,
    Ball,
    Bernoulli,
    Beta,
    Chain,
    Circle,
    Corners,
    Correlated,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Laplace,
    Logistic,
    LowRankGaussian,
    Pinwheel,
    Prior,
    Product,
    Rotation,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Transform,
    Tree,
    TwoMoons,
    Uniform,
)

PRIORS: dict[str, Callable[[], Prior]] = {
    "gaussian": lambda: Gaussian(2),
    "full_gaussian": lambda: FullGaussian([[1.0, 0.7], [0.7, 1.0]]),
    "low_rank_gaussian": lambda: LowRankGaussian([[1.0], [-1.0]], scale=0.3),
    "uniform": lambda: Uniform(2),
    "laplace": lambda: Laplace(2),
    "student_t": lambda: StudentT(2, df=4.0),
    "logistic": lambda: Logistic(2),
    "beta": lambda: Beta(2, 0.5, 2.0),
    "generalized_gaussian": lambda: GeneralizedGaussian(2, 8.0),
    "mixture": lambda: GaussianMixture([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]], 0.3),
    "mixture_ring": lambda: GaussianMixture.ring(6, radius=2.0, scale=0.2),
    "mixture_grid": lambda: GaussianMixture.grid(3, spacing=1.5, scale=0.2),
    "mixture_simplex": lambda: GaussianMixture.simplex(2),
    "mixture_hypercube": lambda: GaussianMixture.hypercube(2),
    "sphere": lambda: Sphere(2),
    "ball": lambda: Ball(2),
    "corners": lambda: Corners(2),
    "grid": lambda: Grid(2, levels=4),
    "bernoulli": lambda: Bernoulli(2, 0.3),
    "correlated": lambda: Correlated(Uniform(2), 0.8),
    "chain": lambda: Chain(-0.7, Logistic(2)),
    "tree": lambda: Tree([-1, 0], 0.7, Laplace(2)),
    "spike_and_slab": lambda: SpikeAndSlab(2, 0.5),
    "group_sparse": lambda: GroupSparse(2, 2, 0.5),
    "swiss_roll": lambda: SwissRoll(),
    "two_moons": lambda: TwoMoons(),
    "pinwheel": lambda: Pinwheel(),
    "circle": lambda: Circle(),
    "product": lambda: Product([Uniform(1), GaussianMixture([[-1.5], [1.5]], 0.3)], dims=[[1], [0]]),
    "affine": lambda: Affine(Uniform(2), [[1.0, 0.5], [0.0, 1.0]]),
    "rotation": lambda: Rotation(Laplace(2), seed=1),
    "transform": lambda: Transform(Gaussian(2), _bend),
    "samples": lambda: Samples(TwoMoons().sample(2000, torch.Generator().manual_seed(1))),
}
NOISY = {"sphere", "corners", "grid", "bernoulli", "spike_and_slab", "group_sparse"}

ATOMIC = {"corners", "grid", "bernoulli", "spike_and_slab", "group_sparse"}
"""Priors with values of positive probability, which no bijection reaches."""
MAP_SETTINGS = FlowSettings(layers=4, hidden=(64, 64), transform="spline", steps=600)


def _bend(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0], 0.5 * x[:, 1] + 0.5 * x[:, 0] ** 2 - 0.5], 1)


SCALES = [0.03, 0.1, 1.0]
"""Lengthscales relative to the median distance of prior draws. The Laplacian kernel has a cusp, which
separates modes, atoms and thin curves. Sums of RBFs with the same lengths leave codes between them."""


def train(prior: Prior, steps: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Train a small MLP on 8-dimensional normal data, with the penalty as the only loss.

    ReLU and a learning rate of 0.005 that decays to zero: the encoder must map one connected distribution to
    several separate pieces.
    """
    torch.manual_seed(seed)
    widths = [8, 128, 128, 128]
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    encoder = nn.Sequential(*layers, nn.Linear(widths[-1], prior.dim))
    penalty = MMD(prior, Laplacian("median_prior", factors=SCALES), seed=seed)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        loss = penalty(encoder(torch.randn(512, 8)), step=step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder


def accuracy(first: Tensor, second: Tensor) -> float:
    """Return the held-out accuracy of an MLP that classifies two samples; 0.5 for equal distributions.

    With little patience the classifier stops at its first plateau and misses codes between separate modes.
    """
    both = torch.cat([first, second])
    both = ((both - both.mean(0)) / both.std(0)).numpy()
    labels = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).numpy()
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0)).numpy()
    cut = len(both) // 2
    model = MLPClassifier(
        (64, 64),
        learning_rate_init=3e-3,
        early_stopping=True,
        n_iter_no_change=40,
        max_iter=300,
        random_state=0,
    )
    model.fit(both[order[:cut]], labels[order[:cut]])
    return float(model.score(both[order[cut:]], labels[order[cut:]]))


def toy(name: str, steps: int, seed: int, figures: str | None) -> None:
    """Train to a prior of two dimensions and print the classifier accuracy on codes of new data."""
    prior, started = PRIORS[name](), time.process_time()
    encoder = train(prior, steps, seed)
    seconds = time.process_time() - started
    with torch.no_grad():
        codes = encoder(torch.randn(5000, 8))
        draws = prior.sample(5000)
    noise = 0.1 if name in NOISY else 0.0
    codes, draws = codes + noise * torch.randn(5000, 2), draws + noise * torch.randn(5000, 2)
    print(f"{name:24s} accuracy {accuracy(codes, draws):.3f}  {seconds:4.0f} CPU s", flush=True)
    if figures:
        Path(figures).mkdir(parents=True, exist_ok=True)
        overlay(draws, codes, name).savefig(Path(figures) / f"{name}.png", dpi=80)


def by_map(name: str, seed: int) -> None:
    """Fit a bijection from curved codes to a prior of two dimensions; print accuracy and match."""
    prior, started = PRIORS[name](), time.process_time()
    generator = torch.Generator().manual_seed(seed)
    train_codes, codes = (_bend(torch.randn(n, 2, generator=generator)) for n in (20_000, 5000))
    fitted = fit_bijection(train_codes, prior, MAP_SETTINGS, dequantize=name in ATOMIC, seed=seed)
    seconds = time.process_time() - started
    with torch.no_grad():
        z = fitted.bijection(codes)
        draws = fitted.prior.sample(5000, generator)
        match = PriorMatch(fitted.prior, n=256)
        matches = [match(part) for part in z[:4096].split(256)]
    spread = " of the dequantized prior" if name in ATOMIC else ""
    print(
        f"{name:24s} accuracy {accuracy(z, draws):.3f}  match {sum(matches) / len(matches):+5.1f} sd  "
        f"inverse error {fitted.inverse_error:.0e}  {seconds:4.0f} CPU s{spread}",
        flush=True,
    )


def on_sprites(name: str, weight: float, images: Tensor, held_out: Tensor, steps: int) -> None:
    """Train on sprites and print the accuracy, the match and the PSNR of held-out sprites."""
    prior = SPRITE_PRIORS[name]()
    model = train_on_sprites(prior, weight, images, steps)
    with torch.no_grad():
        latent, output = model(held_out)
        codes = latent.sample
        psnr = -10 * float((output - held_out).square().mean().log10())
        match = MMD(prior, WAE_IMQ(), seed=1)
        match(codes)
    separated = accuracy(codes, prior.sample(len(codes)))
    standardised = float(match.terms["standardised"])
    print(
        f"{name:12s} weight {weight:5.0f}  accuracy {separated:.3f}  MMD {standardised:+9.1f} sd  "
        f"{psnr:.2f} dB",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.py training", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PRIORS, *SPRITE_PRIORS])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--maps", action="store_true", help="fit invertible maps to curved codes of two dimensions"
    )
    parser.add_argument("--figures", help="folder for figures of codes over prior draws")
    parser.add_argument(
        "--sprites", action="store_true", help="train autoencoders of sprites to priors of 16 dimensions"
    )
    parser.add_argument(
        "--weight", type=float, default=SPRITE_WEIGHT, help="weight of the penalty on sprites"
    )
    options = parser.parse_args(arguments)
    if options.sprites:
        torch.manual_seed(options.seed)
        train_images, held_out = sprite_images()
        for name in options.only or SPRITE_PRIORS:
            for weight in (0.0, options.weight):
                on_sprites(name, weight, train_images, held_out, options.steps)
        return
    for name in options.only or PRIORS:
        if options.maps:
            by_map(name, options.seed)
            continue
        toy(name, options.steps, options.seed, options.figures)
