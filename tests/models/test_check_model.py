"""`check_model` accepts every shipped network and names what is wrong with broken ones."""

import pytest
import torch
from helpers.networks import PAIRS, autoencoder
from torch import nn

from mmdprior import InputError, Latent
from mmdprior.models import (
    Autoencoder,
    BernoulliLikelihood,
    DeterministicPosterior,
    GaussianLikelihood,
    GaussianPosterior,
    LaplaceLikelihood,
    Likelihood,
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    Posterior,
    add_linear_skip,
    fit_pca,
)
from mmdprior.testing import check_model

SHAPE, DIM = (1, 32, 32), 3
LIKELIHOODS = [GaussianLikelihood(), BernoulliLikelihood(), LaplaceLikelihood()]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("posterior", [DeterministicPosterior(), GaussianPosterior()])
def test_shipped_networks(name, posterior):
    model = autoencoder(name, SHAPE, DIM, posterior)
    check_model(model.encoder, model.decoder, image_shape=SHAPE, latent_dim=DIM, posterior=posterior)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_shipped_likelihoods_and_the_linear_skip(likelihood):
    model = Autoencoder(MLPEncoder(SHAPE, DIM), MLPDecoder(SHAPE, DIM), likelihood=likelihood)
    check_model(model, image_shape=SHAPE, latent_dim=DIM)
    images = torch.rand(50, 1024)
    skip = add_linear_skip(model, fit_pca(lambda: images.split(25), DIM), SHAPE)
    check_model(skip, image_shape=SHAPE, latent_dim=DIM)


def test_the_modules_stay_unchanged():
    encoder, decoder = MLPEncoder(SHAPE, DIM, [8]), MLPDecoder(SHAPE, DIM, [8])
    encoder.layers[1].eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    check_model(encoder, decoder, image_shape=SHAPE, latent_dim=DIM)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert encoder.training
    assert not encoder.layers[1].training


def test_batch_normalisation_passes_with_stored_statistics():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.BatchNorm1d(8), nn.Linear(8, DIM))
    check_model(encoder, LinearDecoder(SHAPE, DIM), image_shape=SHAPE, latent_dim=DIM)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1024, DIM)

    def forward(self, images):
        return self.layer(images.flatten(1))


class CentredByBatch(Encoder):
    def forward(self, images):
        codes = super().forward(images)
        return codes - codes.mean(0)


class Random(Encoder):
    def forward(self, images):
        codes = super().forward(images)
        return codes + torch.randn_like(codes)


class Unused(Encoder):
    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(2, 2)


class Detached(Encoder):
    def forward(self, images):
        return super().forward(images).detach()


class NotFinite(Encoder):
    def forward(self, images):
        return super().forward(images) / 0


class PlainTensor(Encoder):
    def __init__(self):
        super().__init__()
        self.scale = torch.ones(DIM)


class Float32(Encoder):
    def forward(self, images):
        return self.layer.float()(images.float().flatten(1))


class AlwaysFloat32(Encoder):
    def forward(self, images):
        return super().forward(images).float()


def _drop_bias(module, state, prefix, metadata):
    del state[f"{prefix}bias"]


class HiddenState(Encoder):
    """Its bias is missing from the state dict."""

    def __init__(self):
        super().__init__()
        self.layer.register_state_dict_post_hook(_drop_bias)


class OneAtATime(Encoder):
    def forward(self, images):
        if len(images) == 1:
            raise RuntimeError("one row\nis too few")
        return super().forward(images)


class Pair(Encoder):
    def forward(self, images):
        return (super().forward(images),)


class Wide(Encoder):
    def forward(self, images):
        return super().forward(images).repeat(1, 2)


class Wrong(nn.Module):
    def forward(self, z):
        return z


class Summed(GaussianLikelihood):
    def loss(self, output, images):
        return (output - images).square().sum()


class PerImage(GaussianLikelihood):
    def loss(self, output, images):
        return (output - images).square().flatten(1).sum(1)


class Halves(Likelihood):
    def loss(self, output, images):
        return (output - images).square().flatten(1).sum(1).mean()

    def mean(self, output):
        return output[..., ::2]


class GlobalNoise(GaussianPosterior):
    def forward(self, params, generator=None):
        return super().forward(params)


class Mislabelled(DeterministicPosterior):
    stochastic = True


class Tuple(Posterior):
    stochastic = False

    def num_params(self, dim):
        return dim

    def forward(self, params, generator=None):
        return params, params


class Short(DeterministicPosterior):
    def forward(self, params, generator=None):
        return Latent(params[:, :2], params[:, :2])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"encoder": Wide()}, r"encoder: shape \(4, 6\) returned for 4 images; return \(4, 3\)"),
        ({"encoder": Pair()}, "encoder: tuple returned; return a tensor"),
        ({"encoder": NotFinite()}, "encoder: NaN or infinity returned"),
        ({"encoder": nn.Linear(5, 3)}, r"encoder: RuntimeError for input \(4, 1, 32, 32\) torch.float32"),
        ({"decoder": Wrong()}, r"decoder: shape \(4, 3\) returned for 4 codes; return \(4, 1, 32, 32\)"),
        ({"encoder": CentredByBatch()}, "encoder: row 0 of a batch differs from the same row as a batch of"),
        ({"encoder": Random()}, "encoder: two calls in evaluation mode differ"),
        ({"encoder": OneAtATime()}, r"encoder: RuntimeError .* \(one row\)"),
        ({"encoder": PlainTensor()}, "encoder.scale: a plain tensor"),
        ({"encoder": AlwaysFloat32()}, r"encoder: torch.float32 on cpu returned after .to\(torch.float64\)"),
        ({"encoder": HiddenState()}, "state dict: not loaded after saving"),
        ({"encoder": Unused()}, "encoder.extra.weight: no gradient"),
        ({"encoder": Detached()}, "encoder.layer.weight: no gradient"),
        ({"likelihood": Summed()}, "likelihood.loss: the loss of a batch is not the mean over its images"),
        ({"likelihood": PerImage()}, r"likelihood.loss: shape \(4,\) returned; return a 0-dim tensor"),
        ({"likelihood": Halves()}, r"likelihood.mean: shape \(4, 1, 32, 16\) returned"),
        ({"posterior": Mislabelled()}, "posterior: stochastic is True, but log_var is None"),
        ({"posterior": Tuple()}, "posterior: tuple returned; return a Latent"),
        ({"posterior": Short()}, r"posterior: sample of shape \(4, 2\) returned; return \(4, 3\)"),
        (
            {"posterior": GlobalNoise(), "encoder": LinearEncoder(SHAPE, 2 * DIM)},
            "posterior: two samples with one seed differ",
        ),
        ({"encoder": Autoencoder(Encoder(), Wrong())}, "give only the Autoencoder"),
        ({"decoder": None}, "decoder: None received"),
    ],
    ids=lambda value: (
        "-".join(type(part).__name__ for part in value.values()) if isinstance(value, dict) else ""
    ),
)
def test_violations_are_named_in_one_line(parts, message):
    parts = {"encoder": Encoder(), "decoder": LinearDecoder(SHAPE, DIM), **parts}
    with pytest.raises(InputError, match=message) as caught:
        check_model(parts.pop("encoder"), parts.pop("decoder"), image_shape=SHAPE, latent_dim=DIM, **parts)
    assert "\n" not in str(caught.value)
