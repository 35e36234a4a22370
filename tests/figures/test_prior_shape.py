"""Marginals of priors as arrays, against scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import InputError
from mmdprior.figures import PriorShape
from mmdprior.figures.prior_shape import finite_rows
from mmdprior.priors import FromCallable, Gaussian, Uniform

RNG = np.random.default_rng(0)


def test_quantiles_and_densities_agree_with_scipy():
    for prior, law in (
        (Gaussian(2, mean=1.0, scale=2.0), stats.norm(1, 2)),
        (Uniform(2), stats.uniform(-1, 2)),
    ):
        shape = PriorShape.of(prior)
        levels = np.array([0.02, 0.5, 0.9])
        assert np.allclose(shape.quantiles(levels)[:, 1], law.ppf(levels), atol=2e-3)
        middles, density = shape.density(0)
        inside = np.abs(law.cdf(middles) - 0.5) < 0.45
        assert np.allclose(density[inside], law.pdf(middles[inside]), rtol=2e-3)
    by_draws = PriorShape.of(FromCallable(lambda n: torch.randn(n, 2), 2))
    assert np.allclose(by_draws.quantiles(np.array([0.1, 0.5]))[:, 0], stats.norm.ppf([0.1, 0.5]), atol=0.05)


def test_distances_agree_with_scipy():
    z = np.column_stack([RNG.normal(size=3000), 0.5 * RNG.normal(size=3000), np.zeros(3000)])
    expected = [stats.kstest(column, "norm").statistic for column in z.T]
    assert np.allclose(PriorShape.of(Gaussian(3)).distances(z), expected, atol=0.01)


def test_codes_that_are_not_two_dimensional_are_refused():
    for bad in (np.zeros(3), np.zeros((3, 0)), np.zeros((2, 2, 2))):
        with pytest.raises(InputError, match="codes: shape"):
            finite_rows(bad)
