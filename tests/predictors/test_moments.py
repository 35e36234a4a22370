"""Means, covariances, inverses and ranks against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior.predictors import Ranks
from mmdprior.predictors.moments import covariance, inverse, mean_and_std


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_mean_and_std_are_numpys(monkeypatch, kind):
    monkeypatch.setattr("mmdprior.predictors.moments._CACHED", 100)
    z = (torch.randn(500, 4, dtype=torch.float64) * torch.tensor([1, 1e-6, 1e20, 0]) + 0.1).to(kind)
    mean, std = mean_and_std(z)
    assert mean.dtype == std.dtype == kind
    assert std[3] == 0
    np.testing.assert_allclose(mean, z.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, z.double().std(0, correction=0), rtol=1e-6)


def test_covariance_in_blocks_is_numpys(monkeypatch):
    monkeypatch.setattr("mmdprior.predictors.moments._BLOCK", 1000)
    z = 1e4 + torch.randn(2, 500, 6)
    mean, cov = covariance(z)
    for i in range(2):
        np.testing.assert_allclose(mean[i, 0], z[i].double().mean(0))
        np.testing.assert_allclose(cov[i], np.cov(z[i].double().T, bias=True), atol=1e-9)


def test_many_features_are_summed_in_single_precision(monkeypatch):
    z = torch.rand(1, 5000, 3)
    exact = covariance(z, torch.cos)[1]
    monkeypatch.setattr("mmdprior.predictors.moments._SLOW", 0)
    torch.testing.assert_close(covariance(z, torch.cos)[1], exact, atol=1e-6, rtol=0)


def test_inverses_of_batches_of_200_columns():
    """The CPU's batched LU of torch 2.14 is wrong there, without an error."""
    a = torch.randn(3, 200, 400, dtype=torch.float64)
    a = a @ a.mT / 400
    torch.testing.assert_close(inverse(a) @ a, torch.eye(200, dtype=torch.float64).expand(3, -1, -1))
    a[1] = torch.ones(200, 200)
    torch.testing.assert_close(inverse(a)[1] @ a[1] @ inverse(a)[1], inverse(a)[1])


@pytest.mark.parametrize("n", [300, 6000])
def test_ranks_are_scipys(n):
    z = torch.cat([torch.randn(1, n, 2), torch.randint(0, 5, (1, n, 1)).float()], 2)
    u = Ranks(z).uniform(z)
    expected = (stats.rankdata(z[0], axis=0) - 0.5) / n
    np.testing.assert_allclose(u[0], expected, atol=1e-6 if n == 300 else 2 / 4096)
    normal = Ranks(z).gaussian(z)
    np.testing.assert_allclose(normal[0, :, 0], stats.norm.ppf(u[0, :, 0]), atol=1e-4)
    outside = Ranks(z).uniform(torch.tensor([[[-100.0] * 3, [100.0] * 3]]))
    assert outside.min() > 0
    assert outside.max() < 1
