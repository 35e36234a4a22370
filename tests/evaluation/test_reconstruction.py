"""Reconstruction errors against their definitions."""

import json
import math

import pytest
import torch
from helpers.linear_model import SHAPE, linear_model, random_images

from mmdprior import InputError
from mmdprior.evaluation import Reconstruction, encode, reconstruction_error
from mmdprior.models import Autoencoder, BernoulliLikelihood, LinearEncoder


def test_errors_of_given_codes_are_those_of_the_model():
    net, data = linear_model(), random_images()
    codes = encode(net, data).latent.sample
    of_codes, of_model = reconstruction_error(net, data, codes, batch_size=9), reconstruction_error(net, data)
    assert of_codes.mse == pytest.approx(of_model.mse, rel=1e-6)
    assert of_codes.loss == pytest.approx(of_model.loss, rel=1e-6)
    narrow = Autoencoder(LinearEncoder(SHAPE, 4), torch.nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"decoder: shape \(70, 3\) returned"):
        reconstruction_error(narrow, data, codes)


@pytest.mark.parametrize("likelihood", [None, BernoulliLikelihood()])
def test_psnr_is_that_of_the_unclipped_mean_image(likelihood):
    net, data = linear_model(likelihood=likelihood), random_images()
    x = data.images.double() / 255
    with torch.no_grad():
        decoded = net.decode(net.encode(x.float()).mean).double()
    mse = float(((decoded - x) ** 2).mean())
    error = reconstruction_error(net, data, batch_size=9)
    assert error.mse == pytest.approx(mse, rel=1e-5)
    assert error.psnr == pytest.approx(-10 * math.log10(mse), abs=1e-4)
    output = net(x.float())[1].detach()
    assert error.loss == pytest.approx(float(net.likelihood.loss(output, x.float())), rel=1e-5)


def test_json_of_a_perfect_reconstruction_has_no_infinity():
    error = Reconstruction(mse=0.0, loss=0.0)
    assert json.loads(error.to_json()) == {"mse": 0.0, "psnr": None, "loss": 0.0}
    assert "PSNR inf dB" in str(error)
