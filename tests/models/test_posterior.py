"""Deterministic and Gaussian posteriors."""

import pytest
import torch

from mmdprior import InputError
from mmdprior.models import DeterministicPosterior, GaussianPosterior


def test_gaussian_samples_have_the_moments_of_the_posterior():
    params = torch.tensor([[1.0, -2.0, 0.0, 2.0]]).repeat(100_000, 1)
    latent = GaussianPosterior()(params, torch.Generator().manual_seed(0))
    assert torch.allclose(latent.sample.mean(0), torch.tensor([1.0, -2.0]), atol=0.05)
    assert torch.allclose(latent.sample.var(0).log(), torch.tensor([0.0, 2.0]), atol=0.05)
    again = GaussianPosterior()(params, torch.Generator().manual_seed(0))
    assert torch.equal(again.sample, latent.sample)


def test_deterministic_samples_are_the_means():
    params = torch.randn(4, 3)
    latent = DeterministicPosterior()(params)
    assert not latent.stochastic
    assert torch.equal(latent.sample, params)
    assert torch.equal(latent.mean, params)


def test_gaussian_rejects_an_odd_number_of_parameters():
    with pytest.raises(InputError, match="encoder: 5 outputs received; a gaussian posterior needs 2 x"):
        GaussianPosterior()(torch.randn(4, 5))
