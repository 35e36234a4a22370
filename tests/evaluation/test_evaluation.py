"""Encoding, reconstruction errors, and the match to the prior."""

import math

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.data import InMemory
from mmdprior.evaluation import encode, evaluate, reconstruction_error
from mmdprior.metrics import PriorMatch
from mmdprior.models import Autoencoder, BernoulliLikelihood, GaussianPosterior, LinearDecoder, LinearEncoder
from mmdprior.priors import FromCallable, Gaussian, Uniform

SHAPE = (1, 6, 6)


def model(posterior=None, likelihood=None, dim=4):
    outputs = 2 * dim if posterior is not None else dim
    return Autoencoder(LinearEncoder(SHAPE, outputs), LinearDecoder(SHAPE, dim), posterior, likelihood)


def images(n=70):
    return InMemory(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), torch.arange(n)[:, None])


def test_codes_do_not_depend_on_the_batch_size():
    net, data = model(GaussianPosterior()), images()
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


def test_the_modes_of_the_caller_do_not_change_the_codes():
    net, data = model(GaussianPosterior()), images()
    expected = encode(net, data).latent.sample
    before = torch.backends.cudnn.allow_tf32
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(encode(net, data).latent.sample, expected)
    assert torch.backends.cudnn.allow_tf32 == before


def test_reconstructions_of_given_codes_are_those_of_the_model():
    net, data = model(), images()
    codes = encode(net, data).latent.sample
    given, own = reconstruction_error(net, data, codes, batch_size=9), reconstruction_error(net, data)
    assert given.mse == pytest.approx(own.mse, rel=1e-6)
    assert given.loss == pytest.approx(own.loss, rel=1e-6)
    narrow = Autoencoder(LinearEncoder(SHAPE, 4), torch.nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"decoder: \(70, 3\) returned"):
        reconstruction_error(narrow, data, codes)


def test_codes_that_are_not_finite_are_refused():
    net = model()
    torch.nn.init.constant_(net.encoder.layers[0].bias, float("nan"))
    with pytest.raises(InputError, match="NaN or infinity in 70 of 70 codes"):
        encode(net, images())


@pytest.mark.parametrize("likelihood", [None, BernoulliLikelihood()])
def test_psnr_is_that_of_the_unclipped_mean_image(likelihood):
    net, data = model(likelihood=likelihood), images()
    x = data.images.double() / 255
    with torch.no_grad():
        decoded = net.decode(net.encode(x.float()).mean).double()
    mse = float(((decoded - x) ** 2).mean())
    error = reconstruction_error(net, data, batch_size=9)
    assert error.mse == pytest.approx(mse, rel=1e-5)
    assert error.psnr == pytest.approx(-10 * math.log10(mse), abs=1e-4)
    output = net(x.float())[1].detach()
    assert error.loss == pytest.approx(float(net.likelihood.loss(output, x.float())), rel=1e-5)


@pytest.mark.parametrize(
    "prior",
    [Gaussian(8), Uniform(8), FromCallable(lambda n: torch.randn(n, 8).abs(), 8)],
    ids=["gaussian", "uniform", "callable"],
)
def test_match_is_standardised_under_the_null_and_large_off_it(prior, generator):
    match = PriorMatch(prior, n=128)
    null = np.array([match(prior.sample(128, generator)) for _ in range(60)])
    assert abs(null.mean()) < 0.5
    assert 0.6 < null.std() < 1.5
    assert match(prior.sample(128, generator) * 0.5) > 8
    assert math.isnan(match(prior.sample(100, generator)))


def test_match_does_not_depend_on_the_order_of_the_data():
    """Files come sorted by class: taking the first codes would compare one class to the prior."""
    z = torch.randn(4000, 2)
    assert PriorMatch(Gaussian(2), n=256)(z[z[:, 0].argsort()]) < 5


def test_evaluation_reports_tags_and_json():
    result, codes = evaluate(
        model(GaussianPosterior()), images(), predictors=["linear"], match=PriorMatch(Gaussian(4), n=32)
    )
    tags = result.scalars()
    assert {"lps/linear", "lps/linear_max", "lps/linear_sample", "latents/active"} <= tags.keys()
    assert {"reconstruction/psnr", "match/mmd_standardised"} <= tags.keys()
    assert result.to_dict()["reconstruction"]["psnr"] == tags["reconstruction/psnr"]
    assert "PSNR" in str(result)
    assert codes.latent.mean.shape == (70, 4)
