"""Mutual information and distance correlation against scikit-learn, scipy, brute force and closed forms."""

import math

import numpy as np
import pytest
import torch
from helpers.codes import circle, equicorrelated
from scipy import stats
from sklearn.metrics import mutual_info_score

from mmdprior.metrics.pairs import _chi_square_quantile, distance_correlation, mutual_information


def correlated(rho, n=2000, d=2):
    return equicorrelated(rho, d=d, n=n)[0]


class TestMutualInformation:
    def test_the_plug_in_part_is_sklearns(self):
        z = correlated(0.5, n=3000, d=3)
        pairs = mutual_information(z, bins=8)
        edges = [np.sort(column)[np.arange(1, 8) * 3000 // 8] for column in z.numpy().T]
        cells = [np.searchsorted(e, c, side="right") for e, c in zip(edges, z.numpy().T, strict=True)]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            table = np.histogram2d(cells[i], cells[j], bins=8)[0]
            miller_madow = ((table > 0).sum() - 8 - 8 + 1) / (2 * 3000)
            expected = mutual_info_score(cells[i], cells[j]) - miller_madow
            assert pairs.matrix[i, j] == pairs.matrix[j, i] == pytest.approx(expected, abs=1e-12)
        assert np.isnan(np.diag(pairs.matrix)).all()

    @pytest.mark.parametrize(("rho", "tolerance"), [(0.0, 0.003), (0.3, 0.006), (0.6, 0.02), (0.9, 0.06)])
    def test_gaussians(self, rho, tolerance):
        value = mutual_information(correlated(rho, n=10_000)).max
        assert value == pytest.approx(-0.5 * math.log(1 - rho**2), abs=tolerance)

    def test_ties_and_copies(self):
        bit = torch.randint(0, 2, (5000, 1)).float()
        pairs = mutual_information(torch.cat([bit, bit, torch.randn(5000, 1)], dim=1))
        assert pairs.matrix[0, 1] == pytest.approx(math.log(2), abs=1e-3)
        assert abs(pairs.matrix[0, 2]) < 0.01
        assert pairs.strongest(1)[0][:2] == (0, 1)

    def test_the_largest_pair_of_independent_codes_is_below_the_level(self):
        exceeded = []
        for _ in range(100):
            pairs = mutual_information(torch.randn(500, 8))
            exceeded.append(pairs.max > pairs.level)
        assert np.mean(exceeded) <= 0.12
        pairs = mutual_information(circle(2000))
        assert pairs.max > 10 * pairs.level

    @pytest.mark.parametrize("freedom", [1, 9, 169, 961])
    def test_quantiles(self, freedom):
        for tail in (0.05, 1e-4, 1e-7):
            exact = stats.chi2(freedom).isf(tail)
            assert _chi_square_quantile(freedom, tail) == pytest.approx(exact, rel=0.04)

    def test_rows_are_subsampled_and_blocks_have_no_effect(self, monkeypatch):
        z = correlated(0.5, n=3000, d=5)
        whole = mutual_information(z)
        assert mutual_information(z, max_rows=1000).n == 1000
        monkeypatch.setattr("mmdprior.metrics.pairs._ENTRIES", 5000)
        np.testing.assert_array_equal(mutual_information(z).matrix, whole.matrix)


def brute_distance_correlation(x, y):
    """Szekely & Rizzo (2014), equations 2.4, 2.5 and 2.8."""
    n = len(x)

    def centred(v):
        a = np.abs(v[:, None] - v)
        b = a - a.sum(1, keepdims=True) / (n - 2) - a.sum(0) / (n - 2) + a.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(b, 0)
        return b

    a, b = centred(x), centred(y)
    return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


class TestDistanceCorrelation:
    def test_brute_force(self, monkeypatch):
        z = torch.cat([circle(60), torch.randn(60, 1), torch.randint(0, 3, (60, 1))], dim=1) * 5 + 2
        monkeypatch.setattr("mmdprior.metrics.pairs._ENTRIES", 1000)
        pairs = distance_correlation(z)
        for i in range(4):
            for j in range(i):
                expected = brute_distance_correlation(z[:, i].double().numpy(), z[:, j].double().numpy())
                assert pairs.matrix[i, j] == pytest.approx(expected, abs=1e-10)
                assert pairs.matrix[j, i] == pytest.approx(expected, abs=1e-10)

    def test_unbiased_under_independence_and_below_its_level(self):
        pairs = [distance_correlation(torch.randn(100, 6)) for _ in range(60)]
        means = np.array([f.mean for f in pairs])
        assert abs(means.mean()) < 4 * means.std() / math.sqrt(len(means))
        assert np.mean([f.max > f.level for f in pairs]) <= 0.15

    def test_it_sees_the_circle(self):
        pairs = distance_correlation(circle(5000))
        assert pairs.n == 1000
        assert pairs.max > 3 * pairs.level
