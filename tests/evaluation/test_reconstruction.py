"""Reconstruction errors against their definitions."""

import json
import math

import pytest
import torch
from helpers.linear_model import SHAPE, linear_model, random_images
from sklearn.metrics import r2_score

from mmdprior import InputError
from mmdprior.data import InMemory
from mmdprior.data.source import sample_kind
from mmdprior.evaluation import Reconstruction, encode, reconstruction_error
from mmdprior.models import Autoencoder, BernoulliLikelihood, LinearEncoder, MLPDecoder, MLPEncoder
from mmdprior.models.standardise import fit_standardisation, standardise


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


class TestVectorsAndSignals:
    """R2 and MSE in standard deviations of the training data, against scikit-learn."""

    @pytest.mark.parametrize("shape", [(5,), (2, 20), (1, 7)])
    @pytest.mark.parametrize("offset", [0.0, 1e3])
    def test_r2_is_the_explained_share_of_the_variance(self, shape, offset):
        rows = offset + torch.randn(40, *shape) * 10 ** torch.randn(shape[0], *[1] * (len(shape) - 1))
        units = fit_standardisation(lambda: [rows[:20] + 1])
        model = standardise(Autoencoder(MLPEncoder(shape, 3, [8]), MLPDecoder(shape, 3, [8])), units).eval()
        data = InMemory(rows, kind=sample_kind(shape))
        codes = encode(model, data)
        error = reconstruction_error(model, data, codes.latent, batch_size=7)
        true, decoded = (
            units(x).flatten(1).double().detach() for x in (rows, model.decode(codes.latent.mean).detach())
        )
        expected = r2_score(true.numpy(), decoded.numpy(), multioutput="variance_weighted")
        assert error.r2 == pytest.approx(expected, abs=1e-4)
        assert error.mse == pytest.approx(float((true - decoded).square().mean()), rel=1e-4)
        assert error.loss == pytest.approx(error.mse * rows[0].numel(), rel=1e-4)
        assert math.isnan(error.psnr)
        assert set(error.to_dict()) == {"mse", "r2", "loss"}
        assert str(error).startswith("R2 ")

    @pytest.mark.parametrize("value", [0.0, 3.0, 1e6 + 0.1])
    def test_constant_data_have_no_r2(self, value):
        model = Autoencoder(MLPEncoder((4,), 2, [8]), MLPDecoder((4,), 2, [8]))
        error = reconstruction_error(model, InMemory(torch.full((30, 4), value)))
        assert math.isnan(error.r2)
        assert error.to_dict()["r2"] is None

    def test_images_have_no_r2(self):
        model = Autoencoder(MLPEncoder((1, 4, 4), 2, [8]), MLPDecoder((1, 4, 4), 2, [8]))
        error = reconstruction_error(model, InMemory(torch.rand(30, 1, 4, 4)))
        assert error.r2 is None
        assert set(error.to_dict()) == {"mse", "psnr", "loss"}
