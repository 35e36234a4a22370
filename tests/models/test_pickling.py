"""Every part of a model can be pickled, copied and saved as a whole, and has the same values afterwards."""

import copy
import io
import pickle

import pytest
import torch

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
)
from mmdprior.predictors.networks import BatchedMLP

SHAPE = (1, 32, 32)


def skip():
    model = Autoencoder(MLPEncoder(SHAPE, 6, [4]), MLPDecoder(SHAPE, 3, [4]), GaussianPosterior())
    return add_linear_skip(model, PCA(torch.rand(1024), torch.rand(1024, 3), torch.ones(3)), SHAPE)


MODELS = {
    "linear": lambda: Autoencoder(LinearEncoder(SHAPE, 3), LinearDecoder(SHAPE, 3)),
    "mlp": lambda: Autoencoder(
        MLPEncoder(SHAPE, 3, [4]), MLPDecoder(SHAPE, 3, [4]), DeterministicPosterior(), LaplaceLikelihood()
    ),
    "conv": lambda: Autoencoder(
        ConvEncoder(SHAPE, 6), ConvDecoder(SHAPE, 3), GaussianPosterior(), BernoulliLikelihood()
    ),
    "resnet": lambda: Autoencoder(
        ResNetEncoder(SHAPE, 3), ResNetDecoder(SHAPE, 3), likelihood=GaussianLikelihood()
    ),
    "linear_skip": skip,
}


def saved(module):
    """Return a module that was saved as a whole. Only for files of one's own: pickles run code."""
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved])
@pytest.mark.parametrize("name", MODELS)
def test_models(name, duplicate):
    model, images = MODELS[name](), torch.rand(2, *SHAPE)
    other = duplicate(model)
    (latent, output), (other_latent, other_output) = (
        m(images, torch.Generator().manual_seed(0)) for m in (model, other)
    )
    assert torch.equal(other_latent.sample, latent.sample)
    assert torch.equal(other_output, output)
    assert torch.equal(other.likelihood.loss(output, images), model.likelihood.loss(output, images))


def test_predicting_networks():
    networks = BatchedMLP(3, (4,), [torch.Generator().manual_seed(0)], torch.zeros(1, 3, 1))
    z = torch.randn(1, 5, 3)
    for other in (copy.deepcopy(networks), pickle.loads(pickle.dumps(networks)), saved(networks)):
        assert torch.equal(other(z), networks(z))
