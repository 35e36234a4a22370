"""The penalty on what networks predict of each dimension, against explicit networks and closed forms."""

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.regularizers import Predictability


def equicorrelated(n, d, rho, generator):
    covariance = torch.full((d, d), rho).fill_diagonal_(1.0)
    return torch.randn(n, d, generator=generator) @ torch.linalg.cholesky(covariance).T


def trained(penalty, draw, updates=200, learning_rate=1e-2):
    optimizer = torch.optim.Adam(penalty.parameters(), lr=learning_rate)
    for _ in range(updates):
        optimizer.zero_grad()
        penalty.auxiliary_loss(draw()).backward()
        optimizer.step()
    return penalty


def by_matrix_products(penalty, z):
    """Return the penalty from explicit matrix products in float64, with input i of network i set to zero."""
    z = z.detach().double().numpy()
    z = (z - z.mean(0)) / z.std(0)
    weights = [w.detach().double().numpy() for w in penalty.networks.weights]
    biases = [b.detach().double().numpy() for b in penalty.networks.biases]
    total = 0.0
    for i in range(z.shape[1]):
        hidden = z.copy()
        hidden[:, i] = 0
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = (np.maximum(hidden, 0) if layer else hidden) @ weight[i] + bias[i]
        total += max(0.0, float(np.cov(z[:, i], hidden[:, 0], ddof=0)[0, 1]))
    return total


def test_equals_the_sum_of_positive_covariances_of_codes_and_predictions(generator):
    penalty = trained(
        Predictability(3, hidden=(8,)), lambda: equicorrelated(64, 3, 0.7, generator), updates=30
    )
    z = equicorrelated(200, 3, 0.5, generator)
    assert penalty(z).item() == pytest.approx(by_matrix_products(penalty, z), rel=1e-4)
    assert float(penalty.terms["predictability"]) == pytest.approx(
        by_matrix_products(penalty, z) / 3, rel=1e-4
    )


def test_with_trained_networks_it_is_d_times_the_r2_of_correlated_gaussians(generator):
    d, rho = 8, 0.7
    penalty = trained(Predictability(d), lambda: equicorrelated(512, d, rho, generator))
    inverse = torch.linalg.inv(torch.full((d, d), rho).fill_diagonal_(1.0))
    r2 = float(1 - 1 / inverse[0, 0])
    assert penalty(equicorrelated(20_000, d, rho, generator)).item() / d == pytest.approx(r2, abs=0.03)


def test_independent_codes_have_a_penalty_near_zero(generator):
    penalty = trained(Predictability(4), lambda: torch.randn(512, 4, generator=generator), updates=200)
    assert penalty(torch.randn(20_000, 4, generator=generator)).item() < 0.02


def test_standardised_codes_have_no_scale_and_plain_ones_do(generator):
    z = equicorrelated(256, 3, 0.8, generator)
    for standardise, factor in ((True, 1.0), (False, 9.0)):
        penalty = Predictability(3, hidden=(8,), standardise=standardise)
        trained(penalty, lambda: equicorrelated(64, 3, 0.8, generator), updates=40)
        for bias in penalty.networks.biases:  # without them a network of ReLUs is homogeneous
            bias.data.zero_()
        assert float(penalty(3 * z + 5)) == pytest.approx(factor * float(penalty(z)), rel=1e-3)


def test_a_linear_map_trained_on_it_makes_codes_independent(generator):
    mixing = torch.tensor([[1.0, 0.9], [0.9, 1.0]], requires_grad=True)
    penalty = Predictability(2, hidden=(16,))
    main = torch.optim.Adam([mixing], lr=1e-2)
    learned = torch.optim.Adam(penalty.parameters(), lr=5e-3)

    def correlation():
        covariance = mixing.detach() @ mixing.detach().T
        return float(covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt())

    assert correlation() > 0.9
    for _ in range(400):
        z = torch.randn(256, 2, generator=generator) @ mixing.T
        for _ in range(penalty.auxiliary_steps):
            learned.zero_grad()
            penalty.auxiliary_loss(z.detach()).backward()
            learned.step()
        main.zero_grad()
        (penalty(z) + (mixing.square().sum(1) - 1).square().sum()).backward()
        main.step()
    assert abs(correlation()) < 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 1}, "dim: 1 received"),
        ({"dim": 3, "hidden": [0]}, "hidden: "),
        ({"dim": 3, "steps": 0}, "steps: 0"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        Predictability(**arguments)


def test_codes_of_another_shape_are_named():
    with pytest.raises(InputError, match=r"dim: 3 received; the latent has 4"):
        Predictability(3)(torch.randn(8, 4))
    with pytest.raises(InputError, match="a batch of 1 received"):
        Predictability(3)(torch.randn(1, 3))


def test_collapsed_codes_have_a_finite_gradient():
    z = torch.zeros(16, 3, requires_grad=True)
    penalty = trained(Predictability(3, hidden=(8,)), lambda: torch.randn(32, 3), updates=5)
    penalty(z).backward()
    assert torch.isfinite(z.grad).all()


class TestGradients:
    def test_the_penalty_reaches_only_codes_and_the_auxiliary_loss_only_networks(self):
        z = torch.randn(64, 3).requires_grad_()
        z.data[:, 1] = z.data[:, 0] + 0.1 * z.data[:, 1]
        penalty = Predictability(3)
        optimizer = torch.optim.Adam(penalty.networks.parameters(), lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            penalty.auxiliary_loss(z).backward()
            optimizer.step()
        assert z.grad is None
        optimizer.zero_grad()
        value = penalty(z)
        value.backward()
        assert value > 0.5
        assert z.grad.abs().max() > 0
        assert all(parameter.grad is None for parameter in penalty.parameters())

    def test_codes_may_have_double_precision(self):
        penalty = Predictability(3)
        z = torch.randn(64, 3, dtype=torch.float64).requires_grad_()
        (penalty(z) + penalty.auxiliary_loss(z)).backward()
        assert z.grad.dtype == torch.float64
        assert penalty(z).item() == pytest.approx(penalty(z.float()).item(), abs=1e-5)
