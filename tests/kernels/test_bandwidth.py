"""Bandwidth rules: medians, and distributions without moments or without spread."""

import pytest
import torch

from mmdprior import InputError, mmd
from mmdprior.kernels import IMQ, RBF, WAE_IMQ
from mmdprior.kernels.bandwidth import median_of_prior, median_squared_distance
from mmdprior.kernels.distance import squared_distance
from mmdprior.priors import FromDistribution, Gaussian, Prior, SpikeAndSlab


class Point(Prior):
    def sample(self, n, generator=None):
        return torch.zeros(n, self.dim)


@pytest.mark.parametrize("kernel", [RBF("median_prior"), WAE_IMQ()])
def test_prior_at_one_point_is_an_error(kernel):
    with pytest.raises(InputError, match="median squared distance between draws of Point is 0"):
        kernel.bind(Point(3))


def test_collapsed_batch_has_a_finite_value_and_gradient():
    collapsed = torch.zeros(64, 3, requires_grad=True)
    value = mmd(collapsed, torch.randn(16, 3), RBF("median_batch"))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(collapsed.grad).all()
    assert torch.isfinite(mmd(torch.zeros(9, 3), torch.zeros(9, 3), IMQ("median_batch")))


def test_heavy_tails_have_no_moments_but_a_median():
    cauchy = FromDistribution(torch.distributions.Cauchy(torch.zeros(3), torch.ones(3)))
    x = torch.randn(5, 3)
    assert torch.isfinite(WAE_IMQ().bind(cauchy)(x, x)).all()


def test_median_of_the_prior():
    prior = Gaussian(5, scale=2.0)
    x = prior.sample(4000, torch.Generator().manual_seed(3))
    r2 = ((x[:2000] - x[2000:]) ** 2).sum(1).median()
    assert abs(median_of_prior(prior) / float(r2) - 1) < 0.06
    bound = RBF("median_prior").bind(prior)
    expected = torch.exp(-squared_distance(x[:9], x[9:18]) / median_of_prior(prior))
    assert torch.allclose(bound(x[:9], x[9:18]), expected, atol=1e-6)


def test_median_of_the_batch_is_shared_by_all_terms_and_has_no_gradient():
    x, y = torch.randn(40, 3), 2 * torch.randn(40, 3)
    pooled = torch.cat([x, y])
    r2 = torch.pdist(pooled.double()).square().median()
    fixed = IMQ("median_batch").adapt(x.requires_grad_(), y)
    assert torch.allclose(fixed(y, y), r2.float() / (r2.float() + squared_distance(y, y)), atol=1e-5)
    assert not fixed._bandwidth.requires_grad


def sparse(probability, dim, shift=0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, dim, generator=generator)
    return shift + x * (torch.rand(400, dim, generator=generator) < probability)


@pytest.mark.parametrize(
    "x",
    [
        sparse(0.05, 1),
        sparse(0.3, 1, shift=3.3),
        sparse(0.05, 4, shift=-7.7),
        sparse(0.05, 4).double(),
        sparse(1.0, 3).clamp(min=1.0),
        torch.nn.functional.one_hot(torch.arange(400) % 3, 20).float(),
        (sparse(1.0, 2) > 2).float(),
        sparse(1.0, 5),
    ],
)
def test_the_median_is_over_pairs_of_different_rows(x):
    exact = torch.pdist(x.double()).square()
    expected = exact[exact > 0].median()
    torch.testing.assert_close(median_squared_distance(x).double(), expected, rtol=1e-4, atol=0)


def test_the_median_of_sparse_priors_is_that_of_different_draws():
    for dim, probability in ((1, 0.05), (4, 0.05), (10, 0.05)):
        assert 0.2 < median_of_prior(SpikeAndSlab(dim, probability)) < 2
    assert median_squared_distance(torch.full((50, 3), 0.1)) == 0
