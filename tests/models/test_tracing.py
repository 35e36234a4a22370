"""Autoencoders under torch.compile, torch.export, torch.func and activation checkpointing.

``MMDPRIOR_COMPILE=1 pytest tests/models/test_tracing.py`` compiles every model.
"""

import io
import os

import pytest
import torch
from torch.export import Dim
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from mmdprior import KL, MMD, Latent
from mmdprior.flows import AffineCoupling
from mmdprior.models import (
    Autoencoder,
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    GaussianPosterior,
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    add_linear_skip,
    fit_pca,
)
from mmdprior.priors import Gaussian

SHAPE, DIM = (1, 32, 32), 4


def linear_skip():
    parts = MLPEncoder(SHAPE, 2 * DIM, [8]), MLPDecoder(SHAPE, DIM, [8])
    model = Autoencoder(*parts, GaussianPosterior(), BernoulliLikelihood())
    pixels = model.likelihood.link(torch.rand(64, *SHAPE)).flatten(1)
    return add_linear_skip(model, fit_pca(lambda: pixels.split(32), DIM), SHAPE)


MODELS = {
    "linear_skip": linear_skip,
    "convolutions": lambda: Autoencoder(ConvEncoder(SHAPE, DIM, [4]), ConvDecoder(SHAPE, DIM, [4])),
    "flow": lambda: Autoencoder(
        LinearEncoder(SHAPE, 2 * DIM),
        LinearDecoder(SHAPE, DIM),
        GaussianPosterior(),
        flow=AffineCoupling(DIM, [0, 1]),
    ),
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("name", MODELS if os.environ.get("MMDPRIOR_COMPILE") == "1" else ["flow"])
def test_a_training_loss_compiles_as_one_graph(name):
    model = MODELS[name]()
    penalty = KL() if model.posterior.stochastic else MMD(Gaussian(DIM))

    def loss(images):
        latent, output = model(images)
        return model.likelihood.loss(output, images) + penalty(latent)

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    for n in (4, 6):
        images, losses = torch.rand(n, *SHAPE), []
        for function in (loss, compiled):
            torch.manual_seed(0)
            losses.append(function(images))
        torch.testing.assert_close(losses[1], losses[0])


@pytest.mark.parametrize("name", MODELS if os.environ.get("MMDPRIOR_COMPILE") == "1" else ["linear_skip"])
def test_an_export_takes_any_number_of_images_and_returns_a_latent(name):
    model = MODELS[name]().eval()
    shapes = ({0: Dim("n", min=2, max=256)},)
    exported = torch.export.export(model, (torch.rand(5, *SHAPE),), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    latent, output = torch.export.load(file).module()(images := torch.rand(9, *SHAPE))
    assert isinstance(latent, Latent)
    expected, _ = model(images)
    torch.testing.assert_close(latent.mean, expected.mean)
    torch.testing.assert_close(output, model.decode_raw(latent.sample, images.shape))


def test_gradients_per_image():
    model = MODELS["convolutions"]()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters, image):
        _, output = functional_call(model, parameters, (image[None],))
        return model.likelihood.loss(output, image[None])

    images = torch.rand(3, *SHAPE)
    per_image = vmap(grad(loss), in_dims=(None, 0))(parameters, images)
    model.likelihood.loss(model(images)[1], images).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(per_image[name].mean(0), parameter.grad)


def test_checkpointing_repeats_the_noise_of_the_posterior():
    model, penalty, images = linear_skip(), KL(), torch.rand(8, *SHAPE, requires_grad=True)
    gradients = []
    for kept in (False, True):
        torch.manual_seed(0)
        latent = checkpoint(model.encode, images, use_reentrant=False) if kept else model.encode(images)
        value = penalty(latent) + MMD(Gaussian(DIM))(latent)
        model.zero_grad()
        value.backward()
        gradients.append([parameter.grad.clone() for parameter in model.encoder.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
