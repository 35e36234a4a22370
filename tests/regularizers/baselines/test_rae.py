"""RAE: code norms and penalties on the decoder against Jacobians and sums of weights."""

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

from mmdprior import InputError
from mmdprior.models import Autoencoder
from mmdprior.regularizers import RAE, SumOfPenalties, Weighted


def model():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    decoder = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4), nn.Unflatten(1, (1, 2, 2)))
    return Autoencoder(encoder, decoder).double()


def prepared(**arguments):
    penalty, autoencoder = RAE(beta=0.5, lambda_=2.0, **arguments), model()
    penalty.before_training(model=autoencoder, images=10)
    return penalty, autoencoder


Z = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
NORM = 0.25 * float(Z.square().sum(1).mean())


def test_code_norm():
    assert float(RAE("none", beta=0.5)(Z)) == pytest.approx(NORM)


def test_l2_is_the_sum_of_squared_weights_of_the_decoder_and_reaches_them():
    penalty, autoencoder = prepared()
    squares = sum(float(weight.detach().square().sum()) for weight in autoencoder.decoder.parameters())
    value = penalty(Z)
    assert float(value.detach()) == pytest.approx(NORM + 2.0 * squares)
    value.backward()
    for weight in autoencoder.decoder.parameters():
        assert torch.allclose(weight.grad, 4.0 * weight.detach())
    assert all(weight.grad is None for weight in autoencoder.encoder.parameters())


def test_the_gradient_penalty_is_the_norm_of_the_jacobian_on_average():
    penalty, autoencoder = prepared(decoder="gradient", seed=0)
    jacobian = vmap(jacrev(lambda z: autoencoder.decoder(z[None])[0]))(Z)
    expected = float(jacobian.square().flatten(1).sum(1).mean().detach())
    values = torch.stack([penalty(Z, step=step).detach() for step in range(250)])
    error = float(values.std()) / 250**0.5
    assert float(values.mean()) == pytest.approx(NORM + 2.0 * expected, abs=4 * error)
    assert error < 0.1 * expected
    penalty(Z).backward()
    assert all(bool(weight.grad.any()) for weight in list(autoencoder.decoder.parameters())[:3])


def test_the_decoder_is_no_part_of_the_penalty_and_reaches_it_inside_a_sum():
    penalty, autoencoder = prepared()
    assert not list(penalty.parameters())
    assert not penalty.state_dict()
    both = SumOfPenalties([Weighted(RAE(), 1.0), Weighted(RAE("gradient"), 1.0)])
    both.before_training(model=autoencoder, images=10)
    assert both(Z).isfinite()


def test_a_missing_decoder_is_named():
    with pytest.raises(InputError, match="decoder: missing; call before_training"):
        RAE()(Z)
