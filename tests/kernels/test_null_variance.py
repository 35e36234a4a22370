"""The null variance against simulated penalties of prior draws."""

import math

import pytest
import torch

from mmdprior import MMD
from mmdprior.kernels import IMQ, RBF
from mmdprior.kernels.null_variance import null_variance
from mmdprior.priors import Gaussian, GaussianMixture, Uniform
from mmdprior.regularizers import Block

PRIORS = {
    "isotropic": lambda: Gaussian(3),
    "mixture": lambda: GaussianMixture([[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]], 0.5),
    "box": lambda: Uniform(3, [-1.0, 0.0, 2.0], [1.0, 0.5, 5.0]),
}


@pytest.mark.parametrize(
    ("name", "estimator"), [("isotropic", "auto"), ("mixture", "unbiased"), ("box", Block(16))]
)
def test_equals_the_variance_of_simulated_penalties(name, estimator, generator):
    prior = PRIORS[name]()
    penalty, repeats = MMD(prior, RBF(1.5), estimator), 80
    values = torch.stack([penalty(prior.sample(64, generator)) for _ in range(repeats)])
    assert abs(values.mean()) < 4 * values.std() / repeats**0.5
    expected = math.sqrt(null_variance(penalty.kernel, prior) * penalty.estimator.variance_factor(64, 64))
    assert abs(values.std() / expected - 1) < 0.25


def test_closed_form_equals_the_estimate_from_draws():
    """A mixture of one component is the same Gaussian, without the closed form."""
    closed = null_variance(RBF(1.5), Gaussian(3, scale=2.0))
    estimated = null_variance(RBF(1.5), GaussianMixture([[0.0] * 3], 2.0))
    assert estimated == pytest.approx(closed, rel=0.05)


def test_a_scaled_kernel_has_the_square_of_the_scale():
    twice = RBF(1.5, factors=[1.0, 1.0])
    single = null_variance(RBF(1.5), GaussianMixture([[0.0] * 3], 2.0))
    assert null_variance(twice, GaussianMixture([[0.0] * 3], 2.0)) == pytest.approx(4 * single, rel=1e-5)
    assert null_variance(IMQ(), Gaussian(3)) > 0
