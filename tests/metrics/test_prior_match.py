"""PriorMatch: standardised under the null, large otherwise, independent of the order of the codes."""

import math

import numpy as np
import pytest
import torch

from mmdprior.metrics import PriorMatch
from mmdprior.priors import FromCallable, Gaussian, Uniform
from mmdprior.seeding import stream


@pytest.mark.parametrize(
    "prior",
    [Gaussian(8), Uniform(8), FromCallable(lambda n: torch.randn(n, 8).abs(), 8)],
    ids=["gaussian", "uniform", "callable"],
)
def test_match_is_standardised_under_the_null_and_large_otherwise(prior, generator):
    match = PriorMatch(prior, n=64)
    null = np.array([match(prior.sample(64, generator)) for _ in range(60)])
    assert abs(null.mean()) < 0.5
    assert 0.6 < null.std() < 1.5
    assert match(prior.sample(64, generator) * 0.5) > 8
    assert math.isnan(match(prior.sample(50, generator)))


def test_match_does_not_depend_on_the_order_of_the_data():
    """Files are often sorted by class: the first codes would compare one class with the prior."""
    z = torch.randn(2000, 2)
    assert PriorMatch(Gaussian(2), n=128)(z[z[:, 0].argsort()]) < 5


def test_equals_the_definition_in_float64():
    """Brute force: IMQ of seven scales, C = 2 tr(Cov), U-statistics, 200 batches against the first one."""
    n, prior = 24, Gaussian(3, scale=2.0)

    def kernel(x, y):
        squared = ((x[:, None] - y[None]) ** 2).sum(-1)
        return sum(s * 24.0 / (s * 24.0 + squared) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))

    def statistic(x, y):
        def within(z):
            gram = kernel(z, z)
            return (gram.sum() - np.trace(gram)) / (n * (n - 1))

        return within(x) + within(y) - 2 * kernel(x, y).mean()

    draws = [prior.sample(n, stream(5, "match", i)).double().numpy() for i in range(201)]
    null = np.array([statistic(batch, draws[0]) for batch in draws[1:]])
    codes = 3 * torch.randn(n, 3, generator=stream(1, "codes"))
    expected = (statistic(codes.double().numpy(), draws[0]) - null.mean()) / null.std(ddof=1)
    assert PriorMatch(prior, n=n, seed=5)(codes) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "change", [lambda m: m.prior.mean.add_(3), lambda m: setattr(m, "prior", Gaussian(2, 3.0))]
)
def test_follows_a_prior_that_has_changed(change):
    match, z = PriorMatch(Gaussian(2), n=32), torch.randn(40, 2)
    assert abs(match(z)) < 6
    change(match)
    assert match(z) == PriorMatch(Gaussian(2, 3.0), n=32)(z) > 20
    match.n = 16
    assert match(z) == PriorMatch(Gaussian(2, 3.0), n=16)(z)
