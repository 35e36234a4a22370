"""P-values, intervals and the correction of R2, with fitted predictors held fixed."""

import math

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated
from scipy import stats

from mmdprior import lps
from mmdprior.metrics import Protocol
from mmdprior.metrics.inference import ScoreStatistics
from mmdprior.metrics.permutation import combine_folds, permutation_agreement
from mmdprior.metrics.protocol import split_rows
from mmdprior.predictors import Classification, Regression


def test_the_protocol_by_hand_with_numpy():
    """One split, standardised."""
    z, _ = equicorrelated(0.3, d=3, n=400)
    result = lps(z, seed=2, null=2)
    bare = lps(z, seed=2, null=0, bootstrap=2000)
    rows = split_rows(400, 1, 2, uses_validation=False)[0]
    train, test = z[rows.train].numpy(), z[rows.test].numpy()
    mean, std = train.mean(0), train.std(0)
    train, test = (train - mean) / std, (test - mean) / std
    prediction = np.zeros_like(test)
    for i in range(3):
        x = np.delete(train, i, 1)
        prediction[:, i] = np.delete(test, i, 1) @ np.linalg.lstsq(x, train[:, i], rcond=None)[0]
    r2 = 1 - ((test - prediction) ** 2).sum(0) / ((test - test.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(result.r2, r2, atol=1e-6)
    assert result.mean_r2 == pytest.approx(r2.mean())
    assert result.excess == result.score - result.null
    draws = np.random.default_rng(0).integers(0, len(test), (2000, len(test)))
    spread = []
    for rows_drawn in draws:
        y, f = test[rows_drawn], prediction[rows_drawn]
        spread.append(np.mean(1 - ((y - f) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)))
    widening = math.sqrt(1 + 80 / (2 * 320))
    low, high = bare.interval
    assert high - low == pytest.approx(widening * np.subtract(*np.quantile(spread, [0.975, 0.025])), rel=0.1)
    assert low < bare.mean_r2 < high
    assert math.isnan(bare.corrected_r2)
    assert result.mean_r2 < result.corrected_r2
    assert result.interval[0] < result.corrected_r2 < result.interval[1]


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_permutations_equal_the_loss_of_permuted_targets(kind):
    """Every shift of a random order, by brute force; p-values agree with plain random permutations."""
    y = torch.randn(1, 40, 2, dtype=torch.float64)
    if kind == "regression":
        outcome = Regression(y, 0.4 * y + torch.randn_like(y))
        losses = lambda s: Regression(outcome.target.roll(-s, 1), outcome.prediction).r2()  # noqa: E731
    else:
        bins = torch.randint(0, 3, (1, 40, 2))
        logits = torch.randn(1, 40, 2, 3, dtype=torch.float64).log_softmax(3)
        outcome = Classification(bins, logits)
        losses = lambda s: -Classification(bins.roll(-s, 1), logits).loss.sum(1)  # noqa: E731
    observed, others, rounding = permutation_agreement(outcome, 39, torch.Generator().manual_seed(0))
    ordered = [losses(s)[0] for s in range(40)]
    assert others.shape[1] >= 199
    for i in range(2):
        better = sum(bool(each[i] >= ordered[0][i] - 1e-12) for each in ordered)
        assert int((others[0, :39, i] >= observed[0, i] - rounding[0, i]).sum()) + 1 == better
        share = float((others[0, :, i] >= observed[0, i]).double().mean())
        brute = []
        for _ in range(2000):
            order = torch.randperm(40)
            pairs = sum((a[0, order, i] * b[0, :, i]).sum() for a, b in outcome.pairings())
            brute.append(bool(pairs >= observed[0, i]))
        assert share == pytest.approx(np.mean(brute), abs=0.12)


def test_constant_predictions_reject_nothing():
    y = torch.randn(1, 50, 2)
    observed, others, rounding = permutation_agreement(
        Regression(y, torch.full_like(y, 0.3)), 199, torch.Generator().manual_seed(0)
    )
    assert bool((others >= observed - rounding).all())


@pytest.mark.parametrize("predictor", ["linear", "additive"])
def test_the_interval_is_finite_if_draws_miss_a_rare_value(predictor):
    """A unit that is on in twenty rows of ten thousand: some bootstrap draws of the test rows have none."""
    for seed in range(3):
        g = np.random.default_rng(seed)
        z = g.normal(size=(10_000, 4)).astype(np.float32)
        z[:, 3] = g.random(10_000) < 0.002
        with pytest.warns(UserWarning, match="integers"):
            low, high = lps(z, predictor).interval
        assert -0.02 < low <= 0.002
        assert -0.002 <= high < 0.02


def test_a_target_that_is_constant_in_the_test_rows_scores_zero():
    z = np.random.default_rng(0).normal(size=(2000, 4))
    z[:, 3] = 0.1
    test = split_rows(2000, 1, 0, uses_validation=False)[0].test
    z[np.setdiff1d(np.arange(2000), test.numpy())[0], 3] = 0.7
    result = lps(z, "linear")
    assert result.r2[3] == 0
    assert abs(result.mean_r2) < 0.02
    assert abs(result.corrected_r2) < 0.02


def test_folds_are_combined_by_twice_their_median():
    each, overall = combine_folds(torch.tensor([[0.01, 0.6], [0.03, 0.7], [0.5, 0.9]], dtype=torch.float64))
    assert each.tolist() == pytest.approx([0.06, 1.0])
    assert overall == pytest.approx(0.12)
    assert combine_folds(torch.tensor([[0.01, 0.6]]))[1] == pytest.approx(0.02)


@pytest.mark.parametrize("predictor", ["linear", "additive"])
def test_level_and_coverage_on_independent_codes(predictor):
    """60 repeats bound gross errors; `scripts/bench.py lps --calibrate` measures the exact level."""
    rejected, covered = [], []
    for seed in range(60):
        z = torch.rand(600, 6, generator=torch.Generator().manual_seed(seed))
        result = lps(z, predictor, seed=seed, bootstrap=300)
        rejected.append(result.p_value <= 0.05)
        covered.append(result.interval[0] <= 0 <= result.interval[1])
    assert stats.binomtest(sum(rejected), 60, 0.05).pvalue > 0.005
    assert np.mean(covered) >= 0.85


def test_weak_dependence_is_rejected_and_strong_is_covered():
    weak, strong = [], []
    for seed in range(10):
        weak.append(lps(equicorrelated(0.1, seed=seed)[0], bootstrap=0, null=0).p_value <= 0.05)
        z, truth = equicorrelated(0.3, seed=seed)
        low, high = lps(z).interval
        strong.append(low <= truth <= high)
        assert high - low < 0.1
    assert np.mean(weak) >= 0.9
    assert np.mean(strong) >= 0.8


def test_the_correction_removes_estimation_error():
    """With 40 columns and 400 rows a held-out R2 is 0.14 too low; the population has 0 and 0.49."""
    for rho, truth in ((0.0, 0.0), (0.5, 0.4878)):
        results = [lps(equicorrelated(rho, d=40, n=500, seed=s)[0], bootstrap=0) for s in range(5)]
        assert np.mean([r.mean_r2 for r in results]) < truth - 0.03
        assert np.mean([r.corrected_r2 for r in results]) == pytest.approx(truth, abs=0.02)


def test_statistics_without_fits_are_nan():
    statistics = ScoreStatistics(Protocol(), split_rows(40, 1, 0, False), 0)
    assert math.isnan(statistics.score())
    assert math.isnan(statistics.null())
    assert statistics.seed_scores() == ()
    assert statistics.p_values().per_dimension is None
