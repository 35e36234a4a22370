"""Losses against torch.distributions, and the link as the inverse of the mean."""

import torch
from torch.distributions import Bernoulli

from mmdprior.models import BernoulliLikelihood, GaussianLikelihood, LaplaceLikelihood


def test_losses_are_summed_over_pixels_and_averaged_over_the_batch():
    output, images = torch.randn(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    per_image = -Bernoulli(logits=output, validate_args=False).log_prob(images)
    assert torch.allclose(
        BernoulliLikelihood().loss(output, images), per_image.sum((1, 2, 3)).mean(), rtol=1e-5
    )
    assert torch.allclose(
        GaussianLikelihood().loss(output, images), ((output - images) ** 2).sum((1, 2, 3)).mean()
    )
    assert torch.allclose(
        LaplaceLikelihood().loss(output, images), (output - images).abs().sum((1, 2, 3)).mean()
    )


def test_the_mean_inverts_the_link():
    images = torch.rand(5, 3, 4, 4)
    bernoulli = BernoulliLikelihood()
    assert torch.allclose(bernoulli.mean(bernoulli.link(images)), images.clamp(0.02, 0.98), atol=1e-6)
    assert torch.equal(GaussianLikelihood().mean(GaussianLikelihood().link(images)), images)
