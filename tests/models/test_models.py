"""Networks of every shape, posteriors, likelihoods, and the linear skip against SVD."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA
from torch import nn
from torch.distributions import Bernoulli as BernoulliDistribution

from mmdprior import InputError
from mmdprior.models import (
    PCA,
    Autoencoder,
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    DeterministicPosterior,
    GaussianLikelihood,
    GaussianPosterior,
    LaplaceLikelihood,
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    add_linear_skip,
    fit_pca,
)

PAIRS = {
    "conv": (ConvEncoder, ConvDecoder, {"channels": [4, 8, 8], "hidden": 16}),
    "resnet": (ResNetEncoder, ResNetDecoder, {"channels": [4, 8], "blocks": 1}),
    "mlp": (MLPEncoder, MLPDecoder, {"hidden": [16]}),
    "linear": (LinearEncoder, LinearDecoder, {}),
}


def build(name, shape, dim=3, posterior=None, likelihood=None):
    posterior = posterior or DeterministicPosterior()
    encoder, decoder, settings = PAIRS[name]
    return Autoencoder(
        encoder(shape, posterior.num_params(dim), **settings),
        decoder(shape, dim, **settings),
        posterior,
        likelihood,
    )


SHAPES = [("conv", side) for side in (32, 33, 45, 50, 64, 127, 128)]
SHAPES += [("resnet", 32), ("resnet", 64), ("mlp", 7), ("linear", 7)]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("name", "side"), SHAPES)
def test_images_go_round_in_their_own_shape(name, side, channels):
    model = build(name, (channels, side, side), posterior=GaussianPosterior())
    images = torch.rand(2, channels, side, side)
    latent, output = model(images)
    assert latent.sample.shape == latent.mean.shape == latent.log_var.shape == (2, 3)
    assert output.shape == images.shape == model.decode(latent.mean).shape


@pytest.mark.parametrize("name", PAIRS)
def test_every_parameter_gets_a_gradient_and_none_mixes_the_batch(name):
    model = build(name, (3, 32, 32))
    images = torch.rand(4, 3, 32, 32)
    _, output = model(images)
    model.likelihood.loss(output, images).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.allclose(model(images[:1])[1], output[:1], atol=1e-5)


def test_gaussian_posterior_samples_by_its_moments():
    params = torch.tensor([[1.0, -2.0, 0.0, 2.0]]).repeat(100_000, 1)
    latent = GaussianPosterior()(params, torch.Generator().manual_seed(0))
    assert torch.allclose(latent.sample.mean(0), torch.tensor([1.0, -2.0]), atol=0.05)
    assert torch.allclose(latent.sample.var(0).log(), torch.tensor([0.0, 2.0]), atol=0.05)
    again = GaussianPosterior()(params, torch.Generator().manual_seed(0))
    assert torch.equal(again.sample, latent.sample)
    assert not DeterministicPosterior()(params).stochastic


def test_likelihoods_against_torch():
    output, images = torch.randn(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    per_image = -BernoulliDistribution(logits=output, validate_args=False).log_prob(images)
    assert torch.allclose(
        BernoulliLikelihood().loss(output, images), per_image.sum((1, 2, 3)).mean(), rtol=1e-5
    )
    assert torch.allclose(
        GaussianLikelihood().loss(output, images), ((output - images) ** 2).sum((1, 2, 3)).mean()
    )
    assert torch.allclose(
        LaplaceLikelihood().loss(output, images), (output - images).abs().sum((1, 2, 3)).mean()
    )
    inside = images.clamp(0.02, 0.98)
    assert torch.allclose(BernoulliLikelihood().mean(BernoulliLikelihood().link(images)), inside, atol=1e-6)


def low_rank(n=400, pixels=3 * 32 * 32, rank=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    scales = torch.linspace(3, 0.5, rank)
    data = (torch.randn(n, rank, generator=g) * scales) @ torch.randn(rank, pixels, generator=g)
    return data / 100 + 0.5 + 0.001 * torch.randn(n, pixels, generator=g)


def in_chunks(data):
    return lambda: data.split(150)


def test_pca_equals_sklearn():
    data = low_rank(pixels=200)
    pca, oracle = fit_pca(in_chunks(data), 6), SklearnPCA(6, svd_solver="full").fit(data.double().numpy())
    np.testing.assert_allclose(pca.mean, oracle.mean_, atol=1e-6)
    np.testing.assert_allclose(pca.scale, np.sqrt(oracle.explained_variance_), rtol=1e-4)
    overlap = np.abs(np.sum(pca.components.numpy() * oracle.components_.T, axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("likelihood", [GaussianLikelihood(), BernoulliLikelihood()])
def test_linear_skip_starts_at_pca(name, likelihood):
    shape, dim = (3, 32, 32), 5
    images = low_rank().clamp(0, 1).view(-1, *shape)
    flat = likelihood.link(images).flatten(1)
    pca = fit_pca(in_chunks(flat), dim)
    model = add_linear_skip(build(name, shape, dim, GaussianPosterior(), likelihood), pca, shape)
    latent = model.encode(images)
    assert torch.allclose(torch.cov(latent.mean.T), torch.eye(dim), atol=0.02)
    assert torch.allclose(latent.log_var, torch.tensor(-4.0))
    oracle = SklearnPCA(dim, svd_solver="full").fit(flat.double().numpy())
    expected = oracle.inverse_transform(oracle.transform(flat.double().numpy()))
    np.testing.assert_allclose(model.decoder(latent.mean).detach().flatten(1), expected, atol=5e-3)
    assert all(p.requires_grad for p in model.parameters())


def test_linear_skip_is_restored_without_data():
    shape = (1, 32, 32)
    pca = fit_pca(in_chunks(low_rank(pixels=1024)), 4)
    model = add_linear_skip(build("conv", shape, 4), pca, shape)
    empty = add_linear_skip(build("conv", shape, 4), PCA.empty(1024, 4), shape)
    empty.load_state_dict(model.state_dict())
    images = torch.rand(3, *shape)
    assert torch.equal(empty.encode(images).mean, model.encode(images).mean)
    assert torch.equal(empty(images)[1], model(images)[1])


class _Flat(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3]


class _Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1024, 3)

    def forward(self, images):
        return self.layer(images.flatten(1)) + 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvEncoder((3, 31, 31), 2), "31 x 31 pixels"),
        (lambda: ConvEncoder((3, 32, 40), 2), "32 x 40 pixels"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4] * 6), "channels: 6 convolutions"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4, 0]), "every width"),
        (lambda: ConvEncoder((3, 32, 32), 2, activation="swish"), "activation|Type-check"),
        (lambda: ResNetEncoder((3, 48, 48), 2), "32 or 64"),
        (lambda: fit_pca(in_chunks(torch.rand(5, 20)), 6), "5 images of 20 values"),
        (lambda: fit_pca(in_chunks(torch.ones(50, 20)), 3), "span 0 dimensions"),
        (
            lambda: add_linear_skip(
                Autoencoder(_Flat(), LinearDecoder((1, 32, 32), 3)), PCA.empty(1024, 3), (1, 32, 32)
            ),
            "no linear or convolutional layer",
        ),
        (
            lambda: add_linear_skip(
                Autoencoder(_Shifted(), LinearDecoder((1, 32, 32), 3)), PCA.empty(1024, 3), (1, 32, 32)
            ),
            "not zero when its last layer is",
        ),
        (lambda: Autoencoder(nn.Identity(), nn.Identity()).encode(torch.rand(2, 1, 8, 8)), "encoder: shape"),
        (
            lambda: Autoencoder(_Flat(), LinearDecoder((3, 8, 8), 3))(torch.rand(2, 1, 8, 8)),
            "decoder: shape",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(Exception, match=message) as caught:
        call()
    assert isinstance(caught.value, InputError) or "Type-check" in str(caught.value)
