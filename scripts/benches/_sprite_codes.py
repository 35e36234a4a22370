"""Autoencoders of sprites with 16 latent dimensions, one per prior, for `bench.py training --sprites`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmdprior import MMD
from mmdprior.data.sprites import sprites
from mmdprior.kernels import ANOVA, WAE_IMQ, Sum
from mmdprior.models import Autoencoder, GaussianPosterior, MLPDecoder, MLPEncoder
from mmdprior.models import GaussianLikelihood as Squared
from mmdprior.models.linear_skip import LOG_VAR_START
from mmdprior.priors import Correlated, Gaussian, GaussianMixture, Laplace, Prior, Product, Uniform

DIM = 16
SIDE = 16
SPRITE_WEIGHT = 10.0
"""Weight of the penalty; the reconstruction loss is the squared error summed over 16 x 16 pixels."""

SPRITE_PRIORS: dict[str, Callable[[], Prior]] = {
    "gaussian": lambda: Gaussian(DIM),
    "uniform": lambda: Uniform(DIM, -(3**0.5), 3**0.5),
    "laplace": lambda: Laplace(DIM, scale=0.5**0.5),
    "product": lambda: Product([GaussianMixture.ring(6, radius=2.0, scale=0.3), Gaussian(DIM - 2)]),
    "correlated": lambda: Correlated(Uniform(DIM, -(3**0.5), 3**0.5), 0.5),
}


def sprite_images(train: int = 20_000, held_out: int = 5_000) -> tuple[Tensor, Tensor]:
    """Render sprites, average them to 16 x 16 pixels, and split them into training and held-out images."""
    images = sprites(train + held_out).train
    order = torch.randperm(len(images))
    rows = [
        nn.functional.avg_pool2d(images.gather(part)[0].float() / 255, 64 // SIDE)
        for part in order.split(2500)
    ]
    both = torch.cat(rows)
    return both[:train], both[train:]


def train_on_sprites(prior: Prior, weight: float, images: Tensor, steps: int) -> Autoencoder:
    """Train an MLP autoencoder with squared error and an MMD penalty of pairs plus a joint kernel.

    The posterior is Gaussian. Sprites have fewer factors than the prior has dimensions, so the codes of a
    deterministic encoder would form a surface of lower dimension, which any classifier detects.
    """
    torch.manual_seed(0)
    encoder = MLPEncoder((1, SIDE, SIDE), 2 * DIM, (256, 256))
    with torch.no_grad():  # start with little noise; otherwise the noise alone matches the prior
        encoder.layers[-1].bias[DIM:] = LOG_VAR_START
    decoder = MLPDecoder((1, SIDE, SIDE), DIM, (256, 256))
    model = Autoencoder(encoder, decoder, GaussianPosterior(), Squared())
    penalty = MMD(prior, Sum([ANOVA(), WAE_IMQ()]), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x = images[torch.randint(len(images), (256,))]
        latent, output = model(x)
        loss = model.likelihood.loss(output, x)
        if weight:
            loss = loss + weight * penalty(latent, step=step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model
