"""The discriminator between codes and prior draws."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from mmdprior import InputError
from mmdprior.priors import Uniform
from mmdprior.regularizers import WAEGAN


def train(penalty, draw, steps=150):
    optimizer = torch.optim.Adam(penalty.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.zero_grad()
        penalty.auxiliary_loss(draw(), step=step).backward()
        optimizer.step()
    return penalty


def test_values_are_those_of_the_logits(generator):
    penalty, z = WAEGAN(3, hidden=[8], seed=0), torch.randn(20, 3, generator=generator)
    assert torch.allclose(penalty(z), softplus(-penalty.discriminator(z)).mean())
    seen = []
    penalty.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss = penalty.auxiliary_loss(z, step=5)
    prior, codes = seen
    assert torch.equal(codes, z)
    expected = softplus(-penalty.discriminator(prior)).mean() + softplus(penalty.discriminator(z)).mean()
    assert torch.allclose(loss, expected)
    assert not torch.equal(loss, penalty.auxiliary_loss(z, step=6))


def test_codes_from_the_prior_give_log_2(generator):
    penalty = train(WAEGAN(3, hidden=[32], seed=0), lambda: torch.randn(512, 3, generator=generator))
    assert float(penalty(torch.randn(5000, 3, generator=generator))) == pytest.approx(math.log(2), abs=0.03)


def test_a_trained_discriminator_moves_codes_to_any_prior(generator):
    penalty = train(
        WAEGAN(2, Uniform(2, 4.0, 5.0), hidden=[32], seed=0), lambda: torch.randn(256, 2, generator=generator)
    )
    z = torch.zeros(64, 2, requires_grad=True)
    penalty(z).backward()
    assert (z.grad < 0).all()


def test_a_prior_of_another_dimension_is_named():
    with pytest.raises(InputError, match="dim 3 received; the latent has 4|dim: 3"):
        WAEGAN(3, hidden=[8])(torch.randn(8, 4))
