"""KL against torch.distributions and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from helpers.prior_catalogue import PRIORS
from torch.distributions import Independent, Normal, kl_divergence

from mmdprior import KL, InputError, Latent
from mmdprior.priors import FromCallable, Gaussian, GaussianMixture


def latent(n=50, d=4, dtype=torch.float64):
    mean, log_var = torch.randn(n, d, dtype=dtype), torch.randn(n, d, dtype=dtype)
    return Latent(mean + (0.5 * log_var).exp() * torch.randn(n, d, dtype=dtype), mean, log_var)


def test_closed_form_to_the_standard_normal():
    z = latent()
    expected = kl_divergence(Normal(z.mean, (0.5 * z.log_var).exp()), Normal(0.0, 1.0)).sum(1).mean()
    penalty = KL()
    assert torch.allclose(penalty(z), expected, rtol=1e-12)
    assert torch.allclose(penalty.terms["kl"], expected)


def test_closed_form_to_a_diagonal_gaussian():
    z, prior = latent(), Gaussian(4, mean=[1.0, 0.0, -1.0, 2.0], scale=[0.5, 1.0, 2.0, 3.0]).double()
    q = Normal(z.mean, (0.5 * z.log_var).exp())
    expected = kl_divergence(q, Normal(prior.mean, prior.scale)).sum(1).mean()
    assert torch.allclose(KL(prior)(z), expected, rtol=1e-12)


def test_monte_carlo_form_averages_to_the_closed_form():
    """A mixture of one component is a Gaussian, but has no closed form here."""
    z = latent(n=100_000)
    one = GaussianMixture([[0.5, -0.5, 0.0, 1.0]], 1.5).double()
    same = Gaussian(4, mean=[0.5, -0.5, 0.0, 1.0], scale=1.5).double()
    q = Independent(Normal(z.mean, (0.5 * z.log_var).exp()), 1)
    spread = (q.log_prob(z.sample) - one.log_prob(z.sample)).std() / 100_000**0.5
    assert abs(KL(one)(z) - KL(same)(z)) < 5 * spread


@pytest.mark.parametrize(
    "name", ["laplace", "full_gaussian", "student_t", "mixture_ring", "correlated", "chain"]
)
def test_any_prior_with_a_density_has_a_kl_whose_mean_is_that_of_quadrature(name):
    """One Gaussian posterior of width 0.3: E log q has a closed form, and E log p is a sum over a grid."""
    prior = PRIORS[name]().double()
    d = prior.dim
    mean, log_var = torch.full((20_000, d), 0.4), torch.full((20_000, d), 2 * math.log(0.3))
    mean, log_var = mean.double(), log_var.double()
    g = torch.Generator().manual_seed(0)
    z = Latent(mean + 0.3 * torch.randn(20_000, d, generator=g, dtype=torch.float64), mean, log_var)
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    grid = torch.cartesian_prod(*[torch.from_numpy(0.4 + 0.3 * nodes)] * d).reshape(-1, d)
    joint = torch.cartesian_prod(*[torch.from_numpy(weights / weights.sum())] * d).reshape(-1, d).prod(1)
    entropy = d * 0.5 * math.log(2 * math.pi * math.e * 0.3**2)
    expected = -entropy - float(joint @ prior.log_prob(grid))
    spread = float((prior.log_prob(z.sample)).std()) / 20_000**0.5
    assert float(KL(prior)(z)) == pytest.approx(expected, abs=0.03 + 5 * spread)


def test_gradient():
    z = latent(5, 3)
    mean, log_var = z.mean.requires_grad_(), z.log_var.requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: KL()(Latent(m, m, v)), (mean, log_var))


def test_capacity_grows_linearly_and_then_stays():
    z = latent()
    kl = KL()(z)
    annealed = KL(capacity=4.0, capacity_steps=100)
    for step, target in ((0, 0.0), (50, 2.0), (100, 4.0), (500, 4.0)):
        assert torch.allclose(annealed(z, step=step), (kl - target).abs())
    assert torch.allclose(annealed.terms["kl"], kl)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: KL()(Latent(torch.zeros(4, 2), torch.zeros(4, 2))), "deterministic"),
        (lambda: KL()(torch.zeros(4, 2)), r"Tensor received; a kl penalty needs Latent\(sample"),
        (lambda: KL()(latent(0, 2)), "a batch of 0 received"),
        (lambda: KL(torch.distributions.Laplace(0.0, 1.0)), "distribution: .* give dim"),
        (lambda: KL(Gaussian(3))(latent(4, 2)), "dim 3 received; the latent has 2"),
        (lambda: KL(FromCallable(lambda n: torch.randn(n, 2), 2)), "no log_prob"),
        (lambda: KL(capacity=-1.0), "capacity: -1.0"),
        (lambda: KL(capacity=1.0, capacity_steps=0), "capacity_steps: 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
