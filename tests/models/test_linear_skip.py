"""PCA against scikit-learn, and the linear skip that starts at it."""

import numpy as np
import pytest
import torch
from helpers.networks import PAIRS, autoencoder
from sklearn.decomposition import PCA as SklearnPCA
from torch import nn

from mmdprior import InputError
from mmdprior.models import (
    PCA,
    Autoencoder,
    BernoulliLikelihood,
    GaussianLikelihood,
    GaussianPosterior,
    LinearDecoder,
    add_linear_skip,
    fit_pca,
)


def low_rank(n=400, pixels=3 * 32 * 32, rank=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    scales = torch.linspace(3, 0.5, rank)
    data = (torch.randn(n, rank, generator=g) * scales) @ torch.randn(rank, pixels, generator=g)
    return data / 100 + 0.5 + 0.001 * torch.randn(n, pixels, generator=g)


def in_chunks(data):
    return lambda: data.split(60)


def test_pca_equals_sklearn():
    data = low_rank(pixels=200)
    pca, oracle = fit_pca(in_chunks(data), 6), SklearnPCA(6, svd_solver="full").fit(data.double().numpy())
    np.testing.assert_allclose(pca.mean, oracle.mean_, atol=1e-6)
    np.testing.assert_allclose(pca.scale, np.sqrt(oracle.explained_variance_), rtol=1e-4)
    overlap = np.abs(np.sum(pca.components.numpy() * oracle.components_.T, axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("likelihood", [GaussianLikelihood(), BernoulliLikelihood()])
def test_the_skip_starts_at_pca(name, likelihood):
    shape, dim = (3, 32, 32), 5
    images = low_rank(n=150).clamp(0, 1).view(-1, *shape)
    flat = likelihood.link(images).flatten(1)
    pca = fit_pca(in_chunks(flat), dim)
    model = add_linear_skip(autoencoder(name, shape, dim, GaussianPosterior(), likelihood), pca, shape)
    latent = model.encode(images)
    assert torch.allclose(torch.cov(latent.mean.T), torch.eye(dim), atol=0.02)
    assert torch.allclose(latent.log_var, torch.tensor(-4.0))
    oracle = SklearnPCA(dim, svd_solver="full").fit(flat.double().numpy())
    expected = oracle.inverse_transform(oracle.transform(flat.double().numpy()))
    np.testing.assert_allclose(model.decoder(latent.mean).detach().flatten(1), expected, atol=5e-3)
    assert all(p.requires_grad for p in model.parameters())


def test_the_state_dict_restores_the_skip_without_data():
    shape = (1, 32, 32)
    pca = fit_pca(in_chunks(low_rank(pixels=1024)), 4)
    model = add_linear_skip(autoencoder("conv", shape, 4), pca, shape)
    empty = add_linear_skip(autoencoder("conv", shape, 4), PCA.empty(1024, 4), shape)
    empty.load_state_dict(model.state_dict())
    images = torch.rand(3, *shape)
    assert torch.equal(empty.encode(images).mean, model.encode(images).mean)
    assert torch.equal(empty(images)[1], model(images)[1])


class Flatten(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3]


class AddsOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1024, 3)

    def forward(self, images):
        return self.layer(images.flatten(1)) + 1


def skip_over(encoder):
    shape = (1, 32, 32)
    return add_linear_skip(Autoencoder(encoder, LinearDecoder(shape, 3)), PCA.empty(1024, 3), shape)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fit_pca(in_chunks(torch.rand(5, 20)), 6), "5 images of 20 values"),
        (lambda: fit_pca(in_chunks(torch.ones(50, 20)), 3), "span 0 dimensions"),
        (lambda: fit_pca(list, 3), "no training images received"),
        (lambda: skip_over(Flatten()), "no linear or convolutional layer"),
        (lambda: skip_over(AddsOne()), "not zero when its last layer is"),
    ],
)
def test_rejects_data_and_networks_that_cannot_start_at_pca(build, message):
    with pytest.raises(InputError, match=message):
        build()
