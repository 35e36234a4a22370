"""The gradient of one batch in parts equals the gradient in one pass, penalty included."""

import pytest
import torch
from helpers.baseline_catalogue import BASELINES
from torch import nn

import mmdprior.training
from mmdprior import KL, MMD
from mmdprior.data import Batch, InMemory, ResidentBatches
from mmdprior.kernels import ANOVA
from mmdprior.models import (
    FSQ,
    QLAE,
    Autoencoder,
    DeterministicPosterior,
    GaussianPosterior,
    UniformQuantiser,
)
from mmdprior.priors import Factors, Gaussian
from mmdprior.regularizers import ConditionalMMD, Predictability, Regularizer, SumOfPenalties
from mmdprior.seeding import stream
from mmdprior.training import GradientCache, Numerics, Trainer

SIDE, DIM = 6, 5


class Encoder(nn.Module):
    """Two layers with dropout that record their outputs."""

    def __init__(self, outputs, dropout):
        super().__init__()
        layers = (nn.Flatten(), nn.Linear(SIDE**2, 16), nn.GELU(), nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(16, outputs))
        self.outputs = []

    def forward(self, images):
        codes = self.layers(images)
        self.outputs.append(codes.detach())
        return codes


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, 16), nn.GELU(), nn.Linear(16, SIDE**2))

    def forward(self, codes):
        return self.layers(codes).unflatten(1, (1, SIDE, SIDE))


class LearnedScale(Regularizer):
    """A penalty that needs labels, with a parameter trained by the model's loss."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(DIM))

    def forward(self, latent, *, step=0, labels=None):
        spread = (self.scale * latent.sample * labels).var(0)
        return (spread - 1).square().sum()


CONDITIONAL = Factors(DIM, {"size": {"dims": [1], "kind": "continuous", "low": 1.0, "high": 2.0}})
PENALTIES = {
    "kl": lambda: KL(),
    "capacity": lambda: KL(capacity=3.0, capacity_steps=10),
    "mmd": lambda: MMD(Gaussian(DIM), estimator="unbiased", seed=0),
    "anova": lambda: MMD(Gaussian(DIM), ANOVA(), seed=0),
    "predictability": lambda: Predictability(DIM, seed=0),
    "learned": LearnedScale,
    "labelled": lambda: SumOfPenalties([MMD(CONDITIONAL, seed=0), ConditionalMMD(CONDITIONAL, seed=0)]),
} | {name: lambda make=make: make(DIM) for name, make in BASELINES.items()}


def make_batch(n=256, dtype=torch.float64, labelled=False):
    """Return a batch, with a labelled batch on request."""
    g = torch.Generator().manual_seed(1)

    def rows(n):
        images = torch.rand(n, 1, SIDE, SIDE, generator=g, dtype=dtype)
        return images, 1 + torch.rand(n, 1, generator=g, dtype=dtype), torch.arange(n)

    return Batch(*rows(n), Batch(*rows(24)) if labelled else None)


def make_trainer(model, regularizer, numerics):
    """Return a trainer whose `_backward` and `_cache` are called directly."""
    data = InMemory(torch.zeros(4, 1, SIDE, SIDE, dtype=torch.uint8), torch.ones(4, 1), ("size",))
    parameters = [*model.parameters(), *regularizer.parameters()]
    optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=1e-3)
    return Trainer(
        model, regularizer, ResidentBatches(data, 2, 0), optimizer, 10, numerics=numerics, progress=False
    )


def backward(trainer, batch):
    """Return the losses of a batch at step 3 with weight 7, in one pass or in parts as the trainer does."""
    trainer.step = 3
    noise = stream(0, "noise")
    if trainer._cache is None:
        return trainer._backward(batch, noise, 7.0)
    return trainer._cache(batch, noise, 3, 7.0)


def gradient(name, parts, dtype=torch.float64, stochastic=True, dropout=0.0, batch=None, quantiser=None):
    torch.manual_seed(0)
    posterior = GaussianPosterior() if stochastic else DeterministicPosterior()
    encoder = Encoder(posterior.num_params(DIM), dropout)
    model = Autoencoder(encoder, Decoder(), posterior, quantiser=quantiser).to(dtype)
    regularizer = PENALTIES[name]().to(dtype)
    trainer = make_trainer(model, regularizer, Numerics(accumulate=parts))
    losses = backward(trainer, make_batch(256, dtype, name == "labelled") if batch is None else batch)
    gradients = [p.grad for part in (model, regularizer) for p in part.parameters() if p.grad is not None]
    return losses, torch.cat([g.flatten() for g in gradients]), model


def relative_difference(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", list(PENALTIES))
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_four_parts_of_64_give_the_gradient_of_256(name, dtype, bound):
    whole, expected, _ = gradient(name, 1, dtype)
    parts, in_parts, _ = gradient(name, 4, dtype)
    assert relative_difference(in_parts, expected) < bound
    for key in ("total", "reconstruction", "penalty"):
        assert float(getattr(parts, key)) == pytest.approx(float(getattr(whole, key)), rel=bound)
    assert torch.allclose(parts.latent.sample, whole.latent.sample, rtol=bound)


QUANTISERS = {
    "fsq": lambda: FSQ(DIM, [4, 3, 5, 2, 8]),
    "fsq with noise": lambda: FSQ(DIM, 4, train="noise"),
    "qlae": lambda: QLAE(DIM, 4, quantisation=1.0, commitment=0.5),
    "learned after": lambda: QLAE(DIM, 4, train="after"),
    "robust bounds": lambda: UniformQuantiser(DIM, 4, bounds="robust"),
    "uniform noise": lambda: UniformQuantiser(DIM, 4, train="noise"),
}


@pytest.mark.parametrize("make", QUANTISERS.values(), ids=QUANTISERS)
def test_the_gradient_in_parts_has_that_of_the_quantiser(make):
    whole, expected, model = gradient("mmd", 1, quantiser=make())
    parts, in_parts, _ = gradient("mmd", 4, quantiser=make())
    _, without, _ = gradient("mmd", 1)
    assert relative_difference(in_parts, expected) < 1e-10
    assert (
        relative_difference(expected[: len(without)], without) > 1e-3 or model.quantiser.train_by == "after"
    )
    assert float(parts.total) == pytest.approx(float(whole.total), rel=1e-10)


@pytest.mark.parametrize("parts", [1, 4])
def test_the_loss_of_the_quantiser_is_part_of_the_minimised_loss(parts):
    losses, _, model = gradient("mmd", parts, quantiser=QUANTISERS["qlae"]())
    z = losses.latent.sample
    gap = (z[:, :, None] - model.quantiser.codebook.detach()).square().amin(2).mean()
    assert float(losses.quantisation) == pytest.approx(1.5 * float(gap), rel=1e-10)
    plain = float(losses.reconstruction + 7.0 * losses.penalty)
    assert float(losses.total) == pytest.approx(plain + 1.5 * float(gap), rel=1e-10)


def test_the_mean_of_penalties_of_parts_has_another_gradient():
    """Plain accumulation, without cached codes, would compute this one."""
    batch = make_batch()
    pieces = []
    for rows in torch.arange(256).chunk(4):
        part = Batch(batch.images[rows], batch.labels[rows], rows)
        pieces.append(gradient("anova", 1, stochastic=False, batch=part)[1])
    _, expected, _ = gradient("anova", 1, stochastic=False)
    assert relative_difference(torch.stack(pieces).mean(0), expected) > 1e-4
    assert relative_difference(gradient("anova", 4, stochastic=False)[1], expected) < 1e-10


def test_dropout_of_the_first_pass_is_replayed_in_the_second():
    _, _, model = gradient("mmd", 4, dropout=0.5)
    first, second = model.encoder.outputs[:4], model.encoder.outputs[4:]
    assert len(second) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_an_encoder_without_trainable_weights_is_not_differentiated():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, DIM)).double().requires_grad_(False)
    model = Autoencoder(encoder, Decoder().double())
    cache = GradientCache(model, PENALTIES["mmd"]().double(), torch.device("cpu"), parts=4)
    cache(make_batch(), stream(0, "noise"), 0, 1.0)
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_bfloat16_networks_keep_losses_in_float32():
    torch.manual_seed(0)
    model = Autoencoder(Encoder(2 * DIM, 0.0), Decoder(), GaussianPosterior())
    for parts in (1, 2):
        trainer = make_trainer(model, KL(), Numerics(precision="bfloat16", accumulate=parts))
        losses = backward(trainer, make_batch(32, torch.float32))
        assert losses.total.dtype == losses.latent.sample.dtype == torch.float32


def test_the_old_name_warns():
    with pytest.warns(DeprecationWarning, match=r"Gradient is now mmdprior\.training\.GradientCache"):
        assert mmdprior.training.Gradient is GradientCache
