"""The rectified generalised Gaussian against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from mmdprior import MMD
from mmdprior.kernels import ANOVA
from mmdprior.priors import Rectified

SETTINGS = [
    (2.0, 0.0, 1.0),
    (2.0, -1.5, 0.5),
    (1.0, 0.8, 2.0),
    (0.5, 0.3, 1.0),
    (4.0, 3.0, 1.0),
    (2.0, 12.0, 1.0),
]


def uncut(shape, loc, scale):
    return stats.gennorm(shape, loc, scale * shape ** (1 / shape))


@pytest.mark.parametrize("setting", SETTINGS)
def test_marginal_and_moments_are_those_of_scipy(setting):
    prior, base = Rectified(1, *setting).double(), uncut(*setting)
    (marginal,) = prior.marginals()
    x = torch.tensor([-1.0, 0.0, 0.1, 0.7, 2.5, 13.0]).double()
    assert torch.allclose(marginal.cdf(x)[1:], torch.from_numpy(base.cdf(x[1:].numpy())), atol=1e-9)
    assert float(marginal.cdf(x)[0]) == 0
    u = torch.tensor([0.05, 0.4, 0.6, 0.95, 0.999]).double()
    assert torch.allclose(
        marginal.quantile(u), torch.from_numpy(np.maximum(0, base.ppf(u.numpy()))), atol=1e-7
    )
    first, second = (
        integrate.quad(lambda x, k=k: x**k * base.pdf(x), 0, np.inf, points=None, limit=400)[0]
        for k in (1, 2)
    )
    moments = prior.moments()
    assert float(moments.mean) == pytest.approx(first, rel=1e-6)
    assert float(moments.covariance) == pytest.approx(second - first**2, rel=1e-5)
    for t in (0.3, 4.0):
        real, imaginary = (
            integrate.quad(lambda x, f=f, t=t: f(t * x) * base.pdf(x), 0, 60, limit=800)[0]
            for f in (math.cos, math.sin)
        )
        value = complex(marginal.characteristic(torch.tensor(t).double()))
        assert value == pytest.approx(complex(real + base.cdf(0), imaginary), abs=2e-6)


@pytest.mark.parametrize("ratio", [-1.0, 0.0, 0.5])
def test_the_expected_number_of_active_dimensions_is_the_published_one(ratio):
    """E |z|_0 = d Phi(loc / scale) at shape 2 (Rectified LpJEPA)."""
    z = Rectified(8, loc=2 * ratio, scale=2.0).sample(20_000, torch.Generator().manual_seed(0))
    active = float((z > 0).sum(1).float().mean())
    assert active == pytest.approx(8 * stats.norm.cdf(ratio), abs=0.05)
    assert float(z.min()) == 0


def test_penalties_accept_it(generator):
    prior = Rectified(4)
    for penalty in (MMD(prior), MMD(prior, ANOVA())):
        right = penalty(prior.sample(256, generator))
        assert float(penalty(torch.randn(256, 4, generator=generator))) > 5 * abs(float(right))
