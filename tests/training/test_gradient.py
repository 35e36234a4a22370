"""The gradient of one batch: in parts the same as whole, penalty included."""

import pytest
import torch
from torch import nn

from mmdprior import KL, MMD
from mmdprior.data import Batch
from mmdprior.kernels import ANOVA
from mmdprior.models import Autoencoder, DeterministicPosterior, GaussianPosterior
from mmdprior.priors import Gaussian
from mmdprior.regularizers import Predictability, Regularizer
from mmdprior.seeding import stream
from mmdprior.training import Gradient

SIDE, DIM = 6, 5


class Coder(nn.Module):
    def __init__(self, outputs, dropout):
        super().__init__()
        layers = (nn.Flatten(), nn.Linear(SIDE**2, 16), nn.GELU(), nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(16, outputs))
        self.seen = []

    def forward(self, images):
        codes = self.layers(images)
        self.seen.append(codes.detach())
        return codes


class Painter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, 16), nn.GELU(), nn.Linear(16, SIDE**2))

    def forward(self, codes):
        return self.layers(codes).unflatten(1, (1, SIDE, SIDE))


class LearnedScale(Regularizer):
    """A penalty with a parameter that is trained with the model, and that asks for labels."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(DIM))

    def forward(self, latent, *, step=0, labels=None):
        spread = (self.scale * latent.sample * labels).var(0)
        return (spread - 1).square().sum()


def penalty(name):
    return {
        "kl": lambda: KL(),
        "capacity": lambda: KL(capacity=3.0, capacity_steps=10),
        "mmd": lambda: MMD(Gaussian(DIM), estimator="unbiased", seed=0),
        "anova": lambda: MMD(Gaussian(DIM), ANOVA(), seed=0),
        "predictability": lambda: Predictability(DIM, seed=0),
        "learned": LearnedScale,
    }[name]()


def batch(n=256, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    images = torch.rand(n, 1, SIDE, SIDE, generator=g, dtype=dtype)
    return Batch(images, 1 + torch.rand(n, 1, generator=g, dtype=dtype), torch.arange(n))


def gradient(name, parts, dtype=torch.float64, stochastic=True, dropout=0.0, data=None):
    torch.manual_seed(0)
    posterior = GaussianPosterior() if stochastic else DeterministicPosterior()
    model = Autoencoder(Coder(posterior.num_params(DIM), dropout), Painter(), posterior).to(dtype)
    regularizer = penalty(name).to(dtype)
    compute = Gradient(model, regularizer, torch.device("cpu"), parts=parts)
    losses = compute(batch(dtype=dtype) if data is None else data, stream(0, "noise"), 3, 7.0)
    gradients = [p.grad for part in (model, regularizer) for p in part.parameters() if p.grad is not None]
    return losses, torch.cat([g.flatten() for g in gradients]), model


def difference(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", ["kl", "capacity", "mmd", "anova", "predictability", "learned"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_four_parts_of_64_give_the_gradient_of_256(name, dtype, bound):
    whole, expected, _ = gradient(name, 1, dtype)
    parts, found, _ = gradient(name, 4, dtype)
    assert difference(found, expected) < bound
    for key in ("total", "reconstruction", "penalty"):
        assert float(getattr(parts, key)) == pytest.approx(float(getattr(whole, key)), rel=bound)
    assert torch.allclose(parts.latent.sample, whole.latent.sample, rtol=bound)


def test_the_mean_of_penalties_of_parts_is_another_gradient():
    """What accumulation without cached codes would compute."""
    data = batch()
    pieces = []
    for rows in torch.arange(256).chunk(4):
        part = Batch(data.images[rows], data.labels[rows], rows)
        pieces.append(gradient("anova", 1, stochastic=False, data=part)[1])
    _, deterministic, _ = gradient("anova", 1, stochastic=False)
    assert difference(torch.stack(pieces).mean(0), deterministic) > 1e-4
    assert difference(gradient("anova", 4, stochastic=False)[1], deterministic) < 1e-10


def test_random_numbers_of_the_encoder_are_replayed():
    _, _, model = gradient("mmd", 4, dropout=0.5)
    first, second = model.encoder.seen[:4], model.encoder.seen[4:]
    assert len(second) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_an_encoder_without_weights_is_left_alone():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, DIM)).double().requires_grad_(False)
    model = Autoencoder(encoder, Painter().double())
    compute = Gradient(model, penalty("mmd").double(), torch.device("cpu"), parts=4)
    compute(batch(), stream(0, "noise"), 0, 1.0)
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_bfloat16_networks_leave_losses_in_float32():
    torch.manual_seed(0)
    model = Autoencoder(Coder(2 * DIM, 0.0), Painter(), GaussianPosterior())
    for parts in (1, 2):
        compute = Gradient(model, KL(), torch.device("cpu"), precision="bfloat16", parts=parts)
        losses = compute(batch(32, torch.float32), stream(0, "noise"), 0, 1.0)
        assert losses.total.dtype == losses.latent.sample.dtype == torch.float32
