"""Closed forms of covariances against scipy, numpy and simulation."""

import math

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated
from scipy import stats

from mmdprior.metrics.covariance import (
    covariance_of,
    covariance_ratio,
    expected_total_correlation,
    normal_scores,
    spectral_rank,
    total_correlation,
)


def test_total_correlation_is_the_relative_entropy_to_the_product():
    z = torch.randn(500, 5) @ torch.randn(5, 5) * 7 + 3
    c = np.cov(z.double().numpy().T)
    entropy = stats.multivariate_normal(cov=c).entropy()
    expected = sum(stats.norm(scale=math.sqrt(v)).entropy() for v in np.diag(c)) - entropy
    assert total_correlation(covariance_of(z)) == pytest.approx(expected, rel=1e-6)


def test_singular_correlations_are_infinite():
    z = torch.randn(500, 3)
    assert total_correlation(covariance_of(z[:, [0, 1, 1]])) == math.inf
    assert total_correlation(covariance_of(z[:, [0]])) == 0


@pytest.mark.parametrize(("n", "d"), [(100, 8), (400, 32)])
def test_expected_total_correlation_is_the_mean_over_independent_codes(n, d):
    values = [total_correlation(covariance_of(torch.randn(n, d))) for _ in range(200)]
    error = 3 * np.std(values) / math.sqrt(len(values))
    assert expected_total_correlation(n, d) == pytest.approx(np.mean(values), abs=error)
    assert expected_total_correlation(d, d) == math.inf


def test_ranks_give_the_total_correlation_under_monotone_maps():
    """The copula is Gaussian, so the bound is tight."""
    z = equicorrelated(0.6, d=2, n=20_000)[0]
    moved = torch.stack([z[:, 0].exp(), z[:, 1] ** 3], dim=1)
    expected = -0.5 * math.log(1 - 0.36)
    assert total_correlation(covariance_of(normal_scores(moved))) == pytest.approx(expected, abs=0.02)
    assert total_correlation(covariance_of(moved)) < expected - 0.03


def test_normal_scores_equal_those_of_scipy():
    z = torch.randint(0, 9, (300, 4)).float()
    z[:, 0] = torch.randn(300)
    expected = stats.norm.ppf((stats.rankdata(z.numpy(), axis=0) - 0.5) / 300)
    np.testing.assert_allclose(normal_scores(z).numpy(), expected, atol=1e-12)


def test_covariance_ratio():
    c = torch.tensor([[4.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert covariance_ratio(c) == pytest.approx(17 / 19)
    assert covariance_ratio(torch.ones(5, 5)) == pytest.approx(1 / 5)


def test_blocks_and_the_scale_of_codes_have_no_effect(monkeypatch):
    z = torch.randn(1000, 6) @ torch.randn(6, 6) + 100
    whole = covariance_of(z)
    expected = np.cov(z.double().numpy().T) / float(z.abs().max()) ** 2
    np.testing.assert_allclose(whole.numpy(), expected, rtol=1e-9)
    monkeypatch.setattr("mmdprior.metrics.covariance._ENTRIES", 77)
    assert torch.allclose(covariance_of(z), whole, rtol=1e-12)
    huge = covariance_of(1e200 * z.double())
    assert spectral_rank(huge) == pytest.approx(spectral_rank(whole))
