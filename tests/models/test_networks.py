"""Shipped encoders and decoders: image shapes, gradients, and rejected sizes."""

import re

import pytest
import torch
from helpers.networks import PAIRS, autoencoder

from mmdprior import InputError
from mmdprior.models import ConvEncoder, GaussianPosterior, ResNetEncoder

SHAPES = [("conv", side) for side in (32, 33, 45, 50, 64, 127, 128)]
SHAPES += [("resnet", 32), ("resnet", 64), ("mlp", 7), ("linear", 7)]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("name", "side"), SHAPES)
def test_reconstructions_have_the_shape_of_the_images(name, side, channels):
    model = autoencoder(name, (channels, side, side), posterior=GaussianPosterior())
    images = torch.rand(2, channels, side, side)
    latent, output = model(images)
    assert latent.sample.shape == latent.mean.shape == latent.log_var.shape == (2, 3)
    assert output.shape == images.shape == model.decode(latent.mean).shape


@pytest.mark.parametrize("name", PAIRS)
def test_every_parameter_gets_a_gradient_and_rows_are_independent_in_training_mode(name):
    model = autoencoder(name, (3, 32, 32))
    images = torch.rand(4, 3, 32, 32)
    _, output = model(images)
    model.likelihood.loss(output, images).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.allclose(model(images[:1])[1], output[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvEncoder((3, 31, 31), 2), "31 x 31 pixels"),
        (lambda: ConvEncoder((3, 32, 40), 2), "32 x 40 pixels"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4] * 6), "channels: 6 convolutions"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[]), "channels: 0 convolutions"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4, 0]), "every width"),
        (lambda: ConvEncoder((3, 32, 32), 2, activation="swish"), "activation|Type-check|violates type hint"),
        (lambda: ResNetEncoder((3, 48, 48), 2), "32 or 64"),
        (lambda: ResNetEncoder((3, 32, 32), 2, channels=[4] * 6), "channels: 6 stages"),
    ],
)
def test_rejects_sizes_that_the_network_cannot_have(build, message):
    with pytest.raises(Exception, match=message) as caught:
        build()
    assert isinstance(caught.value, InputError) or re.search(
        "Type-check|violates type hint", str(caught.value)
    )
