"""Shipped encoders and decoders: image shapes, gradients, and rejected sizes."""

import re

import numpy as np
import pytest
import torch
from helpers.networks import PAIRS, autoencoder
from scipy.fft import dctn

from mmdprior import InputError
from mmdprior.models import (
    ConvEncoder,
    DCTDecoder,
    DCTEncoder,
    GaussianPosterior,
    MixerDecoder,
    MixerEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from mmdprior.models.dct import _Cosines

SIDES = [("conv", (side, side)) for side in (8, 28, 32, 33, 45, 50, 64, 127, 128)]
SIDES += [("conv", sides) for sides in ((8, 200), (33, 20), (120, 31), (96,), (9,), (1001,))]
SIDES += [("resnet", sides) for sides in ((32, 32), (64, 64), (28, 28), (48, 33), (5, 70))]
SIDES += [("patched_resnet", (36, 28)), ("mixer", (8, 28)), ("mixer", (32, 32))]
SIDES += [("dct", sides) for sides in ((32, 32), (5, 70), (9,), (3, 33))]
SIDES += [(name, sides) for name in ("mlp", "linear") for sides in ((7, 7), (3, 9), (20,), ())]


@pytest.mark.parametrize("channels", [1, 2, 13])
@pytest.mark.parametrize(("name", "sides"), SIDES)
def test_reconstructions_have_the_shape_of_images_signals_and_vectors(name, sides, channels):
    model = autoencoder(name, (channels, *sides), posterior=GaussianPosterior())
    images = torch.rand(2, channels, *sides)
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
        (lambda: ConvEncoder((31,), 2), "vectors received; .* accepts images and signals, give .*: mlp$"),
        (lambda: ConvEncoder((1, 2, 3, 4, 5), 2), "shape .* received"),
        (
            lambda: ConvEncoder((3, 12, 40), 2),
            "channels: 4 convolutions received; a side of 12 allows 1 to 3",
        ),
        (lambda: ConvEncoder((3, 12), 2), "a side of 12 allows 1 to 3"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4] * 6), "channels: 6 convolutions"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[]), "channels: 0 convolutions"),
        (lambda: ConvEncoder((3, 32, 32), 2, channels=[4, 0]), "every number"),
        (lambda: ConvEncoder((3, 32, 32), 2, activation="swish"), "activation|Type-check|violates type hint"),
        (lambda: ResNetEncoder((3, 48), 2), "signals received; .* accepts images, give .*: conv or mlp$"),
        (lambda: ResNetEncoder((3,), 2), "vectors received; .* accepts images, give model.name: mlp$"),
        (lambda: ResNetEncoder((3, 32, 32), 2, channels=[4] * 6), "channels: 6 stages"),
        (
            lambda: ResNetEncoder((3, 32, 32), 2, channels=[4] * 4, patch=4),
            "channels: 4 stages received; a side of 8",
        ),
        (lambda: ResNetDecoder((3, 32, 30), 2, patch=4), "patch: 4 received; a side of 30 is no multiple"),
        (lambda: MixerEncoder((1, 28, 28), 2, patch=8), "patch: 8 received; a side of 28 is no multiple"),
        (lambda: MixerDecoder((3, 48), 2), "signals received; .* accepts images, give .*: conv or mlp$"),
        (lambda: MixerEncoder((1, 8, 8), 2, patch=0), "patch: .*every number must be at least 1"),
        (lambda: DCTDecoder((31,), 2), "vectors received; .* accepts images and signals, give .*: mlp$"),
        (lambda: DCTEncoder((1, 8, 8), 2, depth=0), "every number must be at least 1"),
    ],
)
def test_rejects_sizes_that_the_network_cannot_have(build, message):
    with pytest.raises(Exception, match=message) as caught:
        build()
    assert isinstance(caught.value, InputError) or re.search(
        "Type-check|violates type hint", str(caught.value)
    )


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_weights_of_earlier_releases_load_with_the_same_names_and_shapes(name):
    """The layers of 32 x 32 images, written out as earlier releases had them."""
    model = autoencoder(name, (3, 32, 32))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if name == "conv":
        assert shapes["encoder.convolutions.4.weight"] == (8, 8, 4, 4)
        assert shapes["encoder.hidden.weight"] == (16, 8 * 4 * 4)
        assert shapes["decoder.hidden.2.weight"] == (8 * 4 * 4, 16)
        assert shapes["decoder.convolutions.4.weight"] == (4, 3, 4, 4)
    else:
        assert shapes["encoder.last.weight"] == (3, 8 * 8 * 8)
        assert shapes["decoder.first.weight"] == (8 * 8 * 8, 3)
        assert shapes["decoder.stages.1.weight"] == (8, 8, 3, 3)
        upsampled = torch.nn.functional.interpolate(torch.arange(9.0).view(1, 1, 3, 3), size=(6, 6))
        doubled = torch.nn.functional.interpolate(torch.arange(9.0).view(1, 1, 3, 3), scale_factor=2)
        assert torch.equal(upsampled, doubled)


@pytest.mark.parametrize("shape", [(2, 12, 9), (3, 16, 16), (1, 20)])
def test_cosine_transform_is_that_of_scipy_and_its_inverse_projects(shape, generator):
    images = torch.rand(4, *shape, generator=generator)
    transform = _Cosines(shape, 7)
    axes = tuple(range(2, images.ndim))
    expected = dctn(images.double().numpy() - 0.5, axes=axes, norm="ortho")
    expected = expected[(..., *(slice(7) for _ in axes))] * transform.weight.double().numpy()
    coefficients = transform(images)
    np.testing.assert_allclose(coefficients.unflatten(1, transform.shape), expected, atol=1e-5)
    again = transform(transform.inverse(coefficients) + 0.5)
    np.testing.assert_allclose(again, coefficients, atol=1e-5)


def test_mixer_patches_are_at_the_place_of_their_pixels():
    """With all layers but the last at zero, an output bias makes every patch the same picture."""
    decoder = MixerDecoder((2, 8, 12), 3, patch=4, width=4, depth=1)
    with torch.no_grad():
        decoder.last.weight.zero_()
        decoder.last.bias.copy_(torch.arange(32.0))
        picture = decoder(torch.zeros(1, 3))[0]
    tile = torch.arange(32.0).view(2, 4, 4)
    assert torch.equal(picture, tile.repeat(1, 2, 3))
