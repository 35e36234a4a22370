"""Scores that have no scale: columns of very different, huge or tiny entries."""

import math
import warnings

import numpy as np
import pytest
import torch
from helpers.codes import QUICK, equicorrelated

from mmdprior import importance, independence, lps
from mmdprior.metrics import PriorMatch, effective_rank
from mmdprior.metrics.covariance import covariance_of, total_correlation
from mmdprior.metrics.scaling import unit_scale
from mmdprior.priors import Gaussian

SCALES = {
    "5,000 times": [5000.0, 1.0, 1.0, 5000.0],
    "ratios of 1e12": [1e-6, 1e6, 1.0, 1e-12],
    "huge": [1e200, 1e200, 1e200, 1e200],
    "tiny": [1e-200, 1e-200, 1e-200, 1e-200],
    "both": [1e200, 1e-200, 1.0, 1e-300],
    "subnormal": [1e-312, 1.0, 1e-310, 1e3],
    "nearly overflowing": [1e307, 1.0, 3e307, 1e-307],
}


def pair(n=400):
    """Two columns with correlation 0.8 and two independent ones; R2 is 0.64 for the pair."""
    z = np.random.default_rng(0).normal(size=(n, 4))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    return z


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("predictor", ["linear", "additive", "information"])
def test_the_scale_of_columns_does_not_change_lps(scale, predictor):
    z = pair(200 if predictor == "information" else 400)
    expected = lps(z, predictor, **QUICK)
    scaled = lps(z * np.array(SCALES[scale]), predictor, **QUICK)
    assert scaled.active.all()
    np.testing.assert_allclose(scaled.r2, expected.r2, atol=0.03 if predictor == "information" else 1e-3)
    if predictor == "linear":
        assert scaled.score == pytest.approx(expected.score, abs=1e-4)
        assert 0.25 < scaled.score < 0.4


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_columns_does_not_change_what_has_no_scale(scale):
    z = pair()
    scaled = z * np.array(SCALES[scale])
    expected, result = independence(z), independence(scaled)
    for name in ("total_correlation", "total_correlation_ranks"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=1e-3), name
    for name in ("mutual_information", "distance_correlation"):
        ours, theirs = getattr(result, name).matrix, getattr(expected, name).matrix
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert result.dhsic.value == pytest.approx(expected.dhsic.value, rel=1e-3)
    assert math.isfinite(result.effective_rank)
    assert math.isfinite(result.covariance_ratio)
    np.testing.assert_allclose(importance(scaled), importance(z), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("largest", [0.9, 1e-4])
def test_the_largest_and_smallest_numbers_of_small_dtypes(dtype, largest):
    z = pair()
    top = np.finfo(dtype).max * largest / np.abs(z).max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lps((z * top).astype(dtype), **QUICK).score == pytest.approx(lps(z, **QUICK).score, abs=0.01)


@pytest.mark.parametrize(("mean", "std"), [(1e8, 1.0), (-1e12, 1.0), (1e200, 1e190), (1e-3, 1e-15)])
def test_a_large_mean_changes_nothing(mean, std):
    z = pair()
    moved = mean + std * z
    assert lps(moved, **QUICK).score == pytest.approx(lps(z, **QUICK).score, abs=1e-3)
    assert effective_rank(torch.from_numpy(moved)) == pytest.approx(
        effective_rank(torch.from_numpy(z)), rel=1e-3
    )
    assert total_correlation(covariance_of(torch.from_numpy(moved))) == pytest.approx(
        total_correlation(covariance_of(torch.from_numpy(z))), rel=1e-3
    )


@pytest.mark.parametrize("value", [1e8, -1e30, 1e250])
@pytest.mark.parametrize("column", [0, 3])
def test_one_outlier_is_named_and_leaves_finite_scores(value, column):
    z = pair()
    z[17, column] = value
    with pytest.warns(UserWarning, match=rf"100 % of the variance of column {column} \(row 17 of column"):
        result = lps(z, permutations=0)
    assert result.active.all()
    assert math.isfinite(result.score)
    assert np.isfinite(result.r2).all()
    assert lps(z, transform="rank_gaussian", **QUICK).score > 0.2


def test_powers_of_two_change_no_digit():
    z = torch.tensor([[3e200, 1.1, 0.0, 5e-324], [-1.7e308, 2.3, 0.0, 2e-310]], dtype=torch.float64)
    scaled = unit_scale(z)
    mantissa = torch.frexp(z).mantissa
    torch.testing.assert_close(torch.frexp(scaled).mantissa, mantissa, rtol=0, atol=0)
    assert float(scaled[:, [0, 1, 3]].abs().max()) < 4
    assert unit_scale(z[:, 1:3]) is not z
    plain = torch.randn(5, 3)
    assert unit_scale(plain) is plain


def test_the_match_of_huge_codes_is_that_of_far_codes():
    match = PriorMatch(Gaussian(2), n=32)
    z = torch.randn(64, 2, dtype=torch.float64)
    assert match(1e300 * z) == pytest.approx(match(1e12 * z), rel=1e-3)


def test_rare_values_that_a_subsample_misses_give_a_finite_joint_statistic():
    z, _ = equicorrelated(0.0, d=3, n=3000)
    z = z.clone()
    z[:, 2] = 0.0
    z[5, 2] = 1.0
    assert math.isfinite(independence(z).dhsic.value)
