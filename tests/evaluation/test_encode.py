"""Codes do not depend on batch size and modes; codes that are not finite are rejected."""

import pytest
import torch
from helpers.linear_model import linear_model, random_images

from mmdprior import InputError
from mmdprior.evaluation import encode, reconstruction_error
from mmdprior.models import GaussianPosterior


def test_codes_do_not_depend_on_the_batch_size():
    net, data = linear_model(GaussianPosterior()), random_images()
    whole, parts = encode(net, data, batch_size=100), encode(net, data, batch_size=7)
    assert torch.allclose(whole.latent.sample, parts.latent.sample, atol=1e-6)
    assert torch.equal(parts.labels, data.labels)
    assert torch.equal(encode(net, data, seed=1).latent.mean, encode(net, data, seed=2).latent.mean)
    assert not torch.equal(encode(net, data, seed=1).latent.sample, whole.latent.sample)
    assert net.training
    net.encoder.eval()
    encode(net, data)
    reconstruction_error(net, data)
    assert net.training
    assert not net.encoder.training


def test_autocast_and_inference_mode_of_the_caller_do_not_change_the_codes():
    net, data = linear_model(GaussianPosterior()), random_images()
    expected = encode(net, data).latent.sample
    before = torch.backends.cudnn.allow_tf32
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(encode(net, data).latent.sample, expected)
    assert torch.backends.cudnn.allow_tf32 == before


def test_rejects_codes_that_are_not_finite():
    net = linear_model()
    torch.nn.init.constant_(net.encoder.layers[0].bias, float("nan"))
    with pytest.raises(InputError, match="NaN or infinity in 70 of 70 codes"):
        encode(net, random_images())
