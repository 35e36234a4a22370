"""Intervals of the mean R2: bootstrap, jackknife and refitted copies."""

import math
import warnings

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated
from scipy import stats

from mmdprior import lps
from mmdprior.metrics.intervals import (
    Jackknife,
    bootstrap_counts,
    bootstrap_interval,
    few_rows_interval,
    jackknife_counts,
    student_quantile,
)

INDEPENDENT = {
    "normal": lambda g, n, d: g.standard_normal((n, d)),
    "student": lambda g, n, d: g.standard_t(3, (n, d)),
    "skewed": lambda g, n, d: g.exponential(size=(n, d)),
    "zero-inflated": lambda g, n, d: g.standard_normal((n, d)) * (g.random((n, d)) < 0.2),
    "bits": lambda g, n, d: (g.random((n, d)) < 0.1).astype(float),
}


def test_bootstrap_counts_are_draws_with_replacement():
    counts = torch.cat(list(bootstrap_counts(50, 300, torch.Generator().manual_seed(0))))
    assert counts.shape == (300, 50)
    assert bool((counts.sum(1) == 50).all())
    assert float(counts.var()) == pytest.approx(0.98, abs=0.05)
    draws = torch.randn(50_000, dtype=torch.float64)
    assert bootstrap_interval(draws, 2.0) == pytest.approx((2 - 1.96, 2 + 1.96), abs=0.05)
    assert bootstrap_interval(draws, 2.0, variance=3.0) == pytest.approx((2 - 3.92, 2 + 3.92), abs=0.1)


def test_student_quantiles():
    for freedom in (5, 7, 19, 200):
        assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


def test_the_jackknife_of_a_mean_is_its_variance():
    """Leaving rows out of a mean of n values gives s^2 / n exactly; groups of rows, nearly."""
    x = torch.randn(150, dtype=torch.float64)
    left_out = torch.cat([counts @ x / 150 for counts in jackknife_counts(150)])
    jackknife = Jackknife.of(left_out[None])
    assert jackknife.std == pytest.approx(float(x.std()) / math.sqrt(150))
    assert jackknife.freedom == 149
    squares = (x - x.mean()).square()
    assert jackknife.rows == pytest.approx(float(squares.sum() ** 2 / squares.square().sum()))
    many = torch.randn(1000, dtype=torch.float64)
    weights = torch.cat(list(jackknife_counts(1000)))
    assert weights.shape == (200, 1000)
    torch.testing.assert_close(weights.sum(1), torch.full((200,), 1000.0, dtype=torch.float64))
    grouped = Jackknife.of((weights @ many / 1000)[None])
    assert grouped.std == pytest.approx(float(many.std()) / math.sqrt(1000), rel=0.2)


def test_informative_rows_of_huge_constant_and_single_changes():
    assert Jackknife.of(torch.zeros(1, 10, dtype=torch.float64)).rows == 0
    single = torch.zeros(1, 1000, dtype=torch.float64)
    single[0, 3] = 1e200
    assert Jackknife.of(single).rows == pytest.approx(1, abs=0.01)


def test_an_interval_of_few_rows_contains_the_range_of_copies():
    copies = torch.linspace(0.5, 2.0, 39, dtype=torch.float64)
    still = Jackknife(0.0, 19, 3.0)
    assert few_rows_interval(0.8, copies, still) == pytest.approx((1 - 0.8 / 0.5, 1 - 0.8 / 2))
    assert few_rows_interval(0.0, copies, Jackknife(0.0, 19, 0.0)) == (1, 1)
    more = torch.cat([copies, torch.tensor([0.1, 9.0]), torch.ones(38)])
    assert few_rows_interval(0.8, more, still) == pytest.approx((1 - 0.8 / 0.5, 1 - 0.8 / 2))  # ranks 2, 78
    low, high = few_rows_interval(0.1, copies, Jackknife(0.1, 19, 3.0))
    spread = stats.t.ppf(0.975, 19)
    assert high == pytest.approx(1 - 0.1 * math.exp(-spread), rel=1e-3)
    assert low == pytest.approx(1 - 0.1 * math.exp(spread), rel=1e-2)


@pytest.mark.parametrize(
    ("family", "n", "d", "predictor"),
    [
        ("normal", 30, 8, "linear"),
        ("normal", 30, 2, "additive"),
        ("student", 50, 4, "linear"),
        ("zero-inflated", 150, 3, "linear"),
        ("zero-inflated", 150, 3, "additive"),
        ("bits", 300, 3, "linear"),
    ],
)
def test_intervals_of_few_rows_cover_the_zero_of_independent_codes(family, n, d, predictor):
    """`scripts/bench.py lps --few-rows` measures the coverage over 400 sets per case."""
    covered = []
    for seed in range(30 if predictor == "linear" else 12):
        z = INDEPENDENT[family](np.random.default_rng([seed, n, d]), n, d)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            low, high = lps(z, predictor, seed=seed, permutations=0).interval
        if not math.isnan(low):
            covered.append(low <= 0 <= high)
    assert len(covered) >= 8
    assert np.mean(covered) >= 0.84


def test_intervals_of_few_rows_cover_the_population():
    covered = []
    for seed in range(20):
        z, truth = equicorrelated(0.6, d=4, n=60, seed=seed)
        result = lps(z, seed=seed, permutations=0)
        low, high = result.interval
        covered.append(low <= truth <= high)
        assert low < result.corrected_r2 < high <= 1
    assert np.mean(covered) >= 0.85


def test_few_rows_raise_the_number_of_copies_where_it_is_cheap():
    z = torch.randn(60, 3)
    result = lps(z)
    assert result.copies == 39
    assert result.to_json() == lps(z).to_json()
    assert lps(z, bootstrap=0).copies == 1
    assert lps(z, null=0).copies == 0
    assert lps(z, null=50).copies == 50
    assert lps(torch.randn(2000, 3)).copies == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lps(torch.randn(60, 3), "mlp", permutations=0).copies == 1


@pytest.mark.parametrize(
    ("make", "predictor", "message"),
    [
        (lambda g: (g.random((100, 3)) < 0.01) + 0.0, "linear", "no interval: 0 of 20 test rows differ"),
        (lambda g: (g.random((300, 2)) < 0.01) + 0.0, "additive", r"give about \d+ rows"),
        (lambda g: g.normal(size=(50, 3)) * (g.random((50, 3)) < 0.1), "linear", "fewer than 4"),
        (lambda g: np.c_[g.normal(size=(400, 2)), np.arange(400) == 7], "linear", "column 2"),
        (lambda g: np.c_[np.ones(400), g.normal(size=400), np.arange(400) < 3], "linear", "column 2"),
        (lambda g: g.normal(size=(30, 3)), "mlp", "test rows decide the score.*or null=39"),
    ],
)
def test_an_interval_that_cannot_hold_is_nan_with_the_rows_that_are_needed(make, predictor, message):
    codes = make(np.random.default_rng(1))
    with pytest.warns(UserWarning, match=message):
        result = lps(codes, predictor, permutations=0)
    assert np.isnan(result.interval).all()
    assert result.to_dict()["interval"] == [None, None]
    assert any("no interval" in text for text in result.warnings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lps(codes, predictor, permutations=0, bootstrap=0)  # no interval requested
    assert not any("no interval" in str(each.message) for each in caught)
