"""The prior of learned pseudo-inputs, in a penalty and in a run."""

import pytest
import torch
from helpers.small_runs import run_directory, trainer
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from mmdprior import KL, MMD, InputError, Latent
from mmdprior.models import (
    Autoencoder,
    DeterministicPosterior,
    GaussianPosterior,
    LinearDecoder,
    LinearEncoder,
)
from mmdprior.priors import Vamp
from mmdprior.training import read_checkpoint

SHAPE = (1, 4, 4)


def attached(components=6, images=4):
    torch.manual_seed(0)
    model = Autoencoder(LinearEncoder(SHAPE, 6), LinearDecoder(SHAPE, 3), GaussianPosterior())
    prior = Vamp(3, components)
    prior.attach(model, torch.rand(images, *SHAPE))
    return prior, model


def test_density_and_draws_are_those_of_the_mixture_of_posteriors():
    prior, model = attached()
    mean, log_var = model.encoder(prior.pseudo_inputs.detach()).detach().chunk(2, 1)
    parts = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(6)), parts)
    z = torch.randn(50, 3)
    assert torch.allclose(prior.log_prob(z), mixture.log_prob(z), rtol=1e-4)
    draws = prior.sample(50_000, torch.Generator().manual_seed(0))
    assert torch.allclose(draws.mean(0), mixture.mean, atol=0.03)
    assert torch.allclose(draws.var(0), mixture.variance, rtol=0.05)


def test_the_gradient_of_a_kl_reaches_encoder_and_pseudo_inputs():
    prior, model = attached()
    mean = torch.randn(20, 3, requires_grad=True)
    value = KL(prior)(Latent(mean + 0.1 * torch.randn(20, 3), mean, torch.full((20, 3), -4.0)))
    value.backward()
    gradients = [mean.grad, prior.pseudo_inputs.grad, *(p.grad for p in model.encoder.parameters())]
    assert all(bool(gradient.any()) for gradient in gradients)


def test_fewer_images_are_repeated_and_values_are_kept():
    prior, model = attached(components=6, images=4)
    assert torch.equal(prior.pseudo_inputs[:2], prior.pseudo_inputs[4:])
    before = prior.pseudo_inputs
    prior.attach(model, torch.rand(6, *SHAPE))
    assert prior.pseudo_inputs is before


def test_a_run_trains_saves_and_resumes_the_pseudo_inputs(tmp_path):
    changes = {
        "regularizer": {"name": "kl", "prior": {"name": "vamp", "components": 5}},
        "model__posterior": "gaussian",
    }
    directory = run_directory(tmp_path)
    run = trainer(directory, **changes)
    start = run.regularizer.prior.pseudo_inputs.detach().clone()
    run.run()
    trained = run.regularizer.prior.pseudo_inputs.detach()
    assert start.shape[0] == 5
    assert not torch.equal(start, trained)
    content = read_checkpoint(directory / "checkpoints" / "last.pt")
    resumed = trainer(directory, content, **changes)
    assert torch.equal(resumed.regularizer.prior.pseudo_inputs, trained)


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="vamp: no model received; give it to a kl penalty"):
        Vamp(3).sample(4)
    with pytest.raises(InputError, match="vamp: no model received"):
        MMD(Vamp(3), estimator="unbiased")(torch.randn(8, 3))
    prior = Vamp(3)
    model = Autoencoder(LinearEncoder(SHAPE, 3), LinearDecoder(SHAPE, 3), DeterministicPosterior())
    prior.attach(model, torch.rand(4, *SHAPE))
    with pytest.raises(
        InputError, match=r"deterministic posterior received; give model\.posterior: gaussian"
    ):
        prior.sample(4)
