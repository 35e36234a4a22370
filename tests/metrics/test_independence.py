"""The companions of LPS against scipy, brute force and closed forms."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from mmdprior import InputError, Latent
from mmdprior.evaluation import Codes, score_codes
from mmdprior.metrics import PriorMatch, independence
from mmdprior.metrics.covariance import (
    covariance_of,
    covariance_ratio,
    expected_total_correlation,
    normal_scores,
    spectral_rank,
    total_correlation,
)
from mmdprior.metrics.hsic import dhsic
from mmdprior.metrics.pairs import _chi_square_quantile, distance_correlation, mutual_information
from mmdprior.priors import Gaussian


def correlated(rho, n=2000, d=2):
    covariance = torch.full((d, d), rho, dtype=torch.float64).fill_diagonal_(1.0)
    return torch.randn(n, d, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T


def circle(n):
    t = 2 * torch.pi * torch.rand(n)
    return torch.stack([t.cos(), t.sin()], dim=1)


def xor(n, d=3):
    z = torch.randn(n, d)
    z[:, 2] = (z[:, 0] * z[:, 1]).sign() * z[:, 2].abs()
    return z


class TestCovariance:
    def test_total_correlation_is_the_relative_entropy_to_the_product(self):
        z = torch.randn(500, 5) @ torch.randn(5, 5) * 7 + 3
        c = np.cov(z.double().numpy().T)
        entropy = stats.multivariate_normal(cov=c).entropy()
        expected = sum(stats.norm(scale=math.sqrt(v)).entropy() for v in np.diag(c)) - entropy
        assert total_correlation(covariance_of(z)) == pytest.approx(expected, rel=1e-6)

    def test_singular_correlations_are_infinite(self):
        z = torch.randn(500, 3)
        assert total_correlation(covariance_of(z[:, [0, 1, 1]])) == math.inf
        assert total_correlation(covariance_of(z[:, [0]])) == 0

    @pytest.mark.parametrize(("n", "d"), [(100, 8), (400, 32)])
    def test_chance_is_the_mean_over_independent_codes(self, n, d):
        values = [total_correlation(covariance_of(torch.randn(n, d))) for _ in range(200)]
        error = 3 * np.std(values) / math.sqrt(len(values))
        assert expected_total_correlation(n, d) == pytest.approx(np.mean(values), abs=error)
        assert expected_total_correlation(d, d) == math.inf

    def test_ranks_bound_the_total_correlation_of_any_map_of_gaussian_codes(self):
        """The copula is Gaussian, so the bound is tight."""
        z = correlated(0.6, n=20_000)
        moved = torch.stack([z[:, 0].exp(), z[:, 1] ** 3], dim=1)
        expected = -0.5 * math.log(1 - 0.36)
        assert total_correlation(covariance_of(normal_scores(moved))) == pytest.approx(expected, abs=0.02)
        assert total_correlation(covariance_of(moved)) < expected - 0.03

    def test_normal_scores_equal_those_of_scipy(self):
        z = torch.randint(0, 9, (300, 4)).float()
        z[:, 0] = torch.randn(300)
        expected = stats.norm.ppf((stats.rankdata(z.numpy(), axis=0) - 0.5) / 300)
        np.testing.assert_allclose(normal_scores(z).numpy(), expected, atol=1e-12)

    def test_covariance_ratio(self):
        c = torch.tensor([[4.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        assert covariance_ratio(c) == pytest.approx(17 / 19)
        assert covariance_ratio(torch.ones(5, 5)) == pytest.approx(1 / 5)

    def test_chunks_and_huge_codes_change_nothing(self, monkeypatch):
        z = torch.randn(1000, 6) @ torch.randn(6, 6) + 100
        whole = covariance_of(z)
        expected = np.cov(z.double().numpy().T) / float(z.abs().max()) ** 2
        np.testing.assert_allclose(whole.numpy(), expected, rtol=1e-9)
        monkeypatch.setattr("mmdprior.metrics.covariance._ENTRIES", 77)
        assert torch.allclose(covariance_of(z), whole, rtol=1e-12)
        huge = covariance_of(1e200 * z.double())
        assert spectral_rank(huge) == pytest.approx(spectral_rank(whole))


class TestMutualInformation:
    def test_the_plug_in_part_equals_sklearn(self):
        z = correlated(0.5, n=3000, d=3)
        found = mutual_information(z, bins=8)
        edges = [np.sort(column)[np.arange(1, 8) * 3000 // 8] for column in z.numpy().T]
        cells = [np.searchsorted(e, c, side="right") for e, c in zip(edges, z.numpy().T, strict=True)]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            table = np.histogram2d(cells[i], cells[j], bins=8)[0]
            miller_madow = ((table > 0).sum() - 8 - 8 + 1) / (2 * 3000)
            expected = mutual_info_score(cells[i], cells[j]) - miller_madow
            assert found.matrix[i, j] == found.matrix[j, i] == pytest.approx(expected, abs=1e-12)
        assert np.isnan(np.diag(found.matrix)).all()

    @pytest.mark.parametrize(("rho", "tolerance"), [(0.0, 0.003), (0.3, 0.006), (0.6, 0.02), (0.9, 0.06)])
    def test_gaussians(self, rho, tolerance):
        value = mutual_information(correlated(rho, n=10_000)).max
        assert value == pytest.approx(-0.5 * math.log(1 - rho**2), abs=tolerance)

    def test_ties_and_copies(self):
        bit = torch.randint(0, 2, (5000, 1)).float()
        found = mutual_information(torch.cat([bit, bit, torch.randn(5000, 1)], dim=1))
        assert found.matrix[0, 1] == pytest.approx(math.log(2), abs=1e-3)
        assert abs(found.matrix[0, 2]) < 0.01
        assert found.strongest(1)[0][:2] == (0, 1)

    def test_chance_level_holds_for_the_largest_pair(self):
        exceeded = []
        for _ in range(100):
            found = mutual_information(torch.randn(500, 8))
            exceeded.append(found.max > found.level)
        assert np.mean(exceeded) <= 0.12
        found = mutual_information(circle(2000))
        assert found.max > 10 * found.level

    @pytest.mark.parametrize("freedom", [1, 9, 169, 961])
    def test_quantiles(self, freedom):
        for tail in (0.05, 1e-4, 1e-7):
            exact = stats.chi2(freedom).isf(tail)
            assert _chi_square_quantile(freedom, tail) == pytest.approx(exact, rel=0.04)

    def test_many_rows_are_thinned_and_chunks_change_nothing(self, monkeypatch):
        z = correlated(0.5, n=3000, d=5)
        whole = mutual_information(z)
        assert mutual_information(z, max_rows=1000).n == 1000
        monkeypatch.setattr("mmdprior.metrics.pairs._ENTRIES", 5000)
        np.testing.assert_array_equal(mutual_information(z).matrix, whole.matrix)


def brute_distance_correlation(x, y):
    """Szekely & Rizzo (2014), equations 2.4, 2.5 and 2.8, word by word."""
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
        found = distance_correlation(z)
        for i in range(4):
            for j in range(i):
                expected = brute_distance_correlation(z[:, i].double().numpy(), z[:, j].double().numpy())
                assert found.matrix[i, j] == pytest.approx(expected, abs=1e-10)
                assert found.matrix[j, i] == pytest.approx(expected, abs=1e-10)

    def test_unbiased_under_independence_and_below_its_level(self):
        found = [distance_correlation(torch.randn(100, 6)) for _ in range(60)]
        means = np.array([f.mean for f in found])
        assert abs(means.mean()) < 4 * means.std() / math.sqrt(len(means))
        assert np.mean([f.max > f.level for f in found]) <= 0.15

    def test_it_sees_the_circle(self):
        found = distance_correlation(circle(5000))
        assert found.n == 1000
        assert found.max > 3 * found.level


def brute_dhsic(z):
    """Pfister et al. (2018), equation 4, with one matrix a dimension."""
    z = (z - z.mean(0)) / z.std(0, ddof=1)
    kernels = [np.exp(-((c[:, None] - c) ** 2) / (2 * z.shape[1] / 4)) for c in z.T]
    product = np.prod(kernels, axis=0)
    means = np.prod([k.mean(1) for k in kernels], axis=0)
    return product.mean() + np.prod([k.mean() for k in kernels]) - 2 * means.mean()


class TestJoint:
    def test_brute_force(self, monkeypatch):
        z = torch.randn(80, 4).double() @ torch.randn(4, 4).double()
        expected = brute_dhsic(z.numpy())
        assert dhsic(z).value == pytest.approx(expected, abs=1e-12)
        monkeypatch.setattr("mmdprior.kernels.hsic._BLOCK", 1000)
        assert dhsic(z).value == pytest.approx(expected, abs=1e-12)

    def test_it_sees_three_dimensions_whose_pairs_are_independent(self):
        z = xor(1000)
        joint = dhsic(z)
        assert joint.p_value == pytest.approx(0.01)
        assert joint.standardised > 10
        pairs = distance_correlation(z)
        assert pairs.max < 2 * pairs.level

    def test_p_values_are_uniform_under_independence(self):
        p = [dhsic(torch.rand(40, 3), permutations=19, seed=s).p_value for s in range(60)]
        assert 0.01 <= np.mean(np.array(p) <= 0.1) <= 0.2
        assert 0.4 < np.mean(p) < 0.65

    def test_permutations_are_refused_by_name(self):
        with pytest.raises(InputError, match="permutations: 1"):
            dhsic(torch.randn(50, 2), permutations=1)


class TestIndependence:
    def test_everything_is_there_and_inactive_dimensions_are_left_out(self):
        z = correlated(0.8, n=1500, d=3)
        z = torch.cat([z[:, :1], torch.full((1500, 1), 2.0), z[:, 1:]], dim=1)
        found = independence(z, match=PriorMatch(Gaussian(4), n=64))
        without = independence(z[:, [0, 2, 3]])
        assert found.active.tolist() == [True, False, True, True]
        assert found.total_correlation == without.total_correlation
        assert found.total_correlation == pytest.approx(-0.5 * math.log(0.2**2 * 2.6), abs=0.1)
        assert found.covariance_ratio == pytest.approx(3 / (3 + 6 * 0.64), abs=0.05)
        np.testing.assert_array_equal(
            found.mutual_information.matrix[np.ix_([0, 2, 3], [0, 2, 3])], without.mutual_information.matrix
        )
        assert np.isnan(found.mutual_information.matrix[1]).all()
        assert found.active_units == 3
        plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert plain["dhsic"]["p_value"] == 0.01
        assert plain["mmd_standardised"] == found.match
        assert [0, 2] in [pair[:2] for pair in plain["mutual_information"]["strongest"]]
        assert "our reading" in str(found)
        assert "chance" in str(found)
        assert found.scalars()["mutual_information_max"] == found.mutual_information.max

    def test_equal_seeds_give_equal_results_whatever_the_type(self):
        z = correlated(0.3, n=400, d=4).float()
        first = independence(z, seed=3).to_dict()
        assert independence(z.numpy(), seed=3).to_dict() == first
        assert independence(z, seed=4).to_dict() != first
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            assert independence(z, seed=3).to_dict() == first

    def test_fewer_than_two_active_dimensions(self):
        z = torch.zeros(100, 3)
        z[:, 0] = torch.randn(100)
        one, none = independence(z), independence(torch.zeros(100, 3))
        assert one.effective_rank == 1
        assert one.mutual_information is None
        assert math.isnan(one.total_correlation)
        assert math.isnan(none.effective_rank)
        json.dumps(none.to_dict(), allow_nan=False)
        assert "active units" in str(none)

    def test_a_copy_is_said_to_be_infinite(self):
        z = torch.randn(200, 1).repeat(1, 2)
        found = independence(z)
        assert found.total_correlation == math.inf
        assert found.to_dict()["total_correlation"] is None
        assert "inf nats" in str(found)
        assert found.distance_correlation.max == pytest.approx(1)

    def test_active_units_are_those_of_the_means(self):
        mean = torch.randn(500, 3) * torch.tensor([1.0, 0.2, 0.05])
        found = independence(mean + torch.randn(500, 3), means=mean, thorough=False)
        assert found.active_units == 2
        assert found.mutual_information is None

    def test_bad_input_is_named(self):
        with pytest.raises(InputError, match="NaN"):
            independence(torch.full((50, 3), math.nan))
        with pytest.raises(InputError, match="active: shape"):
            independence(torch.randn(50, 3), active=torch.ones(2, dtype=torch.bool))

    def test_evaluations_show_both_representations(self):
        mean = torch.randn(600, 3)
        latent = Latent(mean + torch.randn(600, 3), mean, torch.zeros(600, 3))
        result = score_codes(Codes(latent, mean[:, :0], ()), ["linear"], thorough=True)
        tags = result.scalars()
        assert {"independence/covariance_ratio", "independence/dhsic_p_value_sample"} <= tags.keys()
        assert tags["independence/effective_rank"] == result.effective_rank
        assert set(result.to_dict()["independence"]) == {"mean", "sample"}
        assert "independence, sample codes" in str(result)
        quick = score_codes(Codes(latent, mean[:, :0], ()), ["linear"])
        assert quick.independence["mean"].dhsic is None


@pytest.mark.gpu
def test_devices_agree():
    z = correlated(0.3, n=3000, d=8).float()
    cpu, gpu = independence(z).scalars(), independence(z.cuda()).scalars()
    for name, value in cpu.items():
        assert gpu[name] == pytest.approx(value, abs=1e-6), name
