"""What stands beside the score: nulls, p-values, intervals, folds, seeds, importance, warnings."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import InputError, LPSResult, lps
from mmdprior.figures import importance_map
from mmdprior.metrics import Protocol, effective_rank, importance
from mmdprior.metrics.inference import (
    ScoreStatistics,
    bootstrap_counts,
    bootstrap_interval,
    combine_folds,
    permutation_agreement,
)
from mmdprior.metrics.protocol import fit_problems, split_rows
from mmdprior.predictors import (
    AdditivePredictor,
    Classification,
    ExpertsPredictor,
    InformationPredictor,
    LinearPredictor,
    MLPPredictor,
    Regression,
)

QUICK = {"null": 0, "permutations": 0, "bootstrap": 0}


def equicorrelated(rho, d=8, n=2000, seed=0):
    covariance = torch.full((d, d), rho, dtype=torch.float64).fill_diagonal_(1.0)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    return z, float(1 - 1 / torch.linalg.inv(covariance)[0, 0])


def families(n=20_000):
    """SCIENCE 4."""
    a, b, e = torch.randn(3, n)
    t, ball = 2 * torch.pi * torch.rand(n), torch.randn(n, 4)
    return {
        "independent": torch.randn(n, 4),
        "circle": torch.stack([t.cos(), t.sin()], 1),
        "sphere": ball / ball.norm(dim=1, keepdim=True),
        "parabola": torch.stack([a, a.square() + 0.1 * b], 1),
        "xor": torch.stack([a, b, torch.sign(a * b) * e.abs()], 1),
        "duplicate": torch.stack([a, a], 1),
        "gaussian": equicorrelated(0.5, d=4, n=n)[0].float(),
    }


# Population's R2_i, or for additive what its basis reaches; (low, high) where a range is all that is known.
NOTHING = (-0.02, 0.02)
GAUSSIAN = (0.34, 0.41)
TABLE = {
    "linear": {"parabola": [NOTHING] * 2, "duplicate": [(0.98, 1)] * 2, "gaussian": [GAUSSIAN] * 4},
    "additive": {
        "circle": [(0.9, 1)] * 2,
        "sphere": [(0.9, 1)] * 4,
        "parabola": [(0.98, 1)] * 2,
        "duplicate": [(0.98, 1)] * 2,
        "gaussian": [GAUSSIAN] * 4,
    },
    "mlp": {
        "parabola": [NOTHING, (0.98, 1)],
        "xor": [(0.58, 0.66)] * 3,
        "duplicate": [(0.98, 1)] * 2,
        "gaussian": [GAUSSIAN] * 4,
    },
    "experts": {
        "parabola": [NOTHING, (0.95, 1)],
        "xor": [(0.5, 0.66)] * 3,
        "duplicate": [(0.98, 1)] * 2,
        "gaussian": [GAUSSIAN] * 4,
    },
    "information": {
        "circle": [(0.8, 1)] * 2,
        "sphere": [(0.8, 1)] * 4,
        "parabola": [(0.8, 1)] * 2,
        "xor": [(0.6, 1)] * 3,
        "duplicate": [(0.9, 1)] * 2,
        "gaussian": [(0.30, 0.41)] * 4,
    },
}


def in_a_hurry(predictor, name):
    """Trained predictors with fewer, larger steps; the thresholds are those of the defaults."""
    fast = {"batch_size": 1024, "learning_rate": 0.01, "patience": 3}
    if predictor == "mlp":
        return MLPPredictor(**fast, epochs=25)
    if predictor == "information":
        return InformationPredictor(**fast, epochs=15)
    if predictor == "experts" and name != "xor":
        return ExpertsPredictor(iterations=40, patience=3)
    return predictor


@pytest.mark.parametrize("predictor", TABLE)
def test_what_each_predictor_sees(predictor):
    for name, z in families().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            r2 = lps(z, in_a_hurry(predictor, name), **QUICK).r2
        if name == "gaussian" and predictor != "information":
            assert np.mean(r2) == pytest.approx(0.375, abs=0.02)
        for value, (low, high) in zip(r2, TABLE[predictor].get(name, [NOTHING] * len(r2)), strict=True):
            assert low <= value <= high, (name, r2)


def test_the_whole_protocol_by_hand():
    """One split, standardised, with numpy."""
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
def test_permutations_are_those_of_the_loss_one_by_one(kind):
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


def test_predictions_that_do_not_vary_prove_nothing():
    y = torch.randn(1, 50, 2)
    observed, others, rounding = permutation_agreement(
        Regression(y, torch.full_like(y, 0.3)), 199, torch.Generator().manual_seed(0)
    )
    assert bool((others >= observed - rounding).all())


@pytest.mark.parametrize("predictor", ["linear", "additive"])
def test_values_that_some_draws_miss_leave_the_interval_finite(predictor):
    """A unit that is on in twenty rows of ten thousand: bootstrap draws of the test rows miss all of its."""
    for seed in range(3):
        g = np.random.default_rng(seed)
        z = g.normal(size=(10_000, 4)).astype(np.float32)
        z[:, 3] = g.random(10_000) < 0.002
        with pytest.warns(UserWarning, match="integers"):
            low, high = lps(z, predictor).interval
        assert -0.02 < low <= 0.002
        assert -0.002 <= high < 0.02


def test_a_target_that_does_not_vary_scores_zero():
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


def test_bootstrap_counts_are_draws_with_replacement():
    counts = torch.cat(list(bootstrap_counts(50, 300, torch.Generator().manual_seed(0))))
    assert counts.shape == (300, 50)
    assert bool((counts.sum(1) == 50).all())
    assert float(counts.var()) == pytest.approx(0.98, abs=0.05)
    draws = torch.randn(50_000, dtype=torch.float64)
    assert bootstrap_interval(draws, 2.0) == pytest.approx((2 - 1.96, 2 + 1.96), abs=0.05)
    assert bootstrap_interval(draws, 2.0, variance=3.0) == pytest.approx((2 - 3.92, 2 + 3.92), abs=0.1)


@pytest.mark.parametrize("predictor", ["linear", "additive"])
def test_levels_and_coverage_in_small(predictor):
    """The sweep is `scripts/bench.py lps --calibrate`; 60 repeats bound what is grossly wrong."""
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


def test_the_correction_takes_estimation_error_out():
    """With 40 columns on 400 rows a held-out R2 is .14 too low; the population's is .4 and 0."""
    for rho, truth in ((0.0, 0.0), (0.5, 0.4878)):
        found = [lps(equicorrelated(rho, d=40, n=500, seed=s)[0], bootstrap=0) for s in range(5)]
        assert np.mean([r.mean_r2 for r in found]) < truth - 0.03
        assert np.mean([r.corrected_r2 for r in found]) == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
def test_folds_score_every_row(predictor):
    z, truth = equicorrelated(0.5, d=4, n=1003)
    rows = split_rows(1003, 5, 0, uses_validation=predictor == "mlp")
    tested = torch.cat([split.test for split in rows])
    assert len(tested) == len(tested.unique()) == 1000
    for split in rows:
        assert len(torch.cat(split).unique()) == 1003
    result = lps(z, predictor, folds=5, bootstrap=200)
    assert result.n_test == 1000
    assert result.score == pytest.approx(truth, abs=0.04)
    assert result.p_value < 0.05
    assert lps(torch.rand(1003, 4), predictor, folds=5, bootstrap=0).p_value > 0.05


def test_problems_in_groups_are_problems_together(monkeypatch):
    z, _ = equicorrelated(0.4, d=4, n=300)
    together = lps(z, MLPPredictor(hidden=(8,), epochs=3), folds=3, seeds=2, null=1)
    monkeypatch.setattr("mmdprior.metrics.protocol._ENTRIES", 1)
    apart = lps(z, MLPPredictor(hidden=(8,), epochs=3), folds=3, seeds=2, null=1)
    np.testing.assert_allclose(together.r2, apart.r2, atol=1e-4)
    assert together.p_value == apart.p_value
    assert together.interval == pytest.approx(apart.interval, abs=1e-4)
    assert together.null == pytest.approx(apart.null, abs=1e-4)


def test_seeds_are_averaged_and_the_first_is_that_of_one_seed():
    z, _ = equicorrelated(0.4, d=4, n=600)
    model = MLPPredictor(hidden=(8,), epochs=5)
    one, three = lps(z, model), lps(z, model, seeds=3)
    assert len(three.seed_scores) == 3
    assert len(set(three.seed_scores)) == 3
    assert three.seed_scores[0] == pytest.approx(one.score, abs=1e-4)
    assert three.mean_r2 == pytest.approx(np.mean(three.seed_scores), abs=0.01)
    assert len(lps(z, "linear", seeds=3).seed_scores) == 1


def test_shuffled_copies_keep_the_marginals_alone():
    z, _ = equicorrelated(0.9, d=4, n=500)
    seen = []

    class Spy(LinearPredictor):
        def fit(self, train, validation, generators):
            seen.append(train)
            return super().fit(train, validation, generators)

    list(fit_problems(z, Spy(), Protocol(transform="none", null=3), 0, split_rows(500, 1, 0, False)))
    assert seen[0].shape[0] == 4
    for copy in seen[0][1:]:
        assert float((torch.corrcoef(copy.T) - torch.eye(4)).abs().max()) < 0.25
    assert not torch.equal(seen[0][1], seen[0][2])
    assert lps(z).null < 0.02


def test_monotone_maps_do_not_matter_to_ranks():
    z, truth = equicorrelated(0.6, d=3, n=4000)
    bent = torch.stack([z[:, 0].exp(), z[:, 1] ** 3, 5 - z[:, 2]], 1)
    plain, mapped = (lps(codes, transform="rank_gaussian", bootstrap=0) for codes in (z, bent))
    np.testing.assert_allclose(plain.r2, mapped.r2, atol=1e-4)
    assert plain.score == pytest.approx(truth, abs=0.03)
    assert plain.information_bound == pytest.approx(-0.5 * np.log1p(-plain.r2).sum())
    assert math.isnan(lps(z, bootstrap=0).information_bound)
    a, b = torch.randn(2, 20_000)
    parabola = torch.stack([a, a.square() + 0.1 * b], 1)
    result = lps(parabola, "mlp", transform="rank_gaussian", **QUICK)
    assert result.max == pytest.approx(0.905, abs=0.02)


def test_nats_of_gaussians():
    """I(z_i; others) = -1/2 log(1 - R2_i), of which 16 bins keep most."""
    z, truth = equicorrelated(0.6, d=2, n=20_000)
    result = lps(z, in_a_hurry("information", ""), **QUICK)
    expected = -0.5 * math.log1p(-truth)
    assert 0.9 * expected < result.extra["nats"].mean() < 1.02 * expected
    assert result.information_bound == pytest.approx(result.extra["nats"].sum())


def test_results_survive_json_and_two_runs_write_the_same():
    z, _ = equicorrelated(0.3, d=3, n=300)
    z[:, 2] = 1.0
    for predictor in (LinearPredictor(), AdditivePredictor(4), ExpertsPredictor(2, iterations=6, trial=2)):
        with pytest.warns(UserWarning, match="constant"):
            first, second = (lps(z, predictor, seed=3, null=2) for _ in range(2))
        assert first.to_json() == second.to_json()
        again = LPSResult.from_json(first.to_json())
        assert again.to_json() == first.to_json()
        assert str(again).splitlines()[:-2] == str(first).splitlines()[:-2]
        assert json.loads(first.to_json())["p_values"][2] is None
    bare = lps(z[:, :2], **QUICK)
    assert json.loads(bare.to_json())["interval"] == [None, None]
    assert LPSResult.from_json(bare.to_json()).to_json() == bare.to_json()


def test_the_effective_rank_does_not_depend_on_an_offset():
    z = torch.randn(400, 4, dtype=torch.float64)
    expected = lps(z, "linear", **QUICK).effective_rank
    assert lps(z + 1e9, "linear", **QUICK).effective_rank == pytest.approx(expected, abs=1e-4)


def test_a_table_says_what_was_done():
    z, _ = equicorrelated(0.3, d=3, n=300)
    text = str(lps(z, "additive", seeds=2))
    for part in (
        "best-function R2",
        "95% interval",
        "LPS - null",
        "p-value",
        "plain_r2",
        "60/20/20",
    ):
        assert part in text
    bare = str(lps(z, **QUICK))
    assert "interval" not in bare
    assert "null" not in bare


def test_the_effective_rank_is_that_of_the_test_codes():
    z, _ = equicorrelated(0.5, d=4, n=500)
    rows = split_rows(500, 1, 0, uses_validation=False)[0]
    assert lps(z).effective_rank == pytest.approx(effective_rank(z[rows.test]), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:35], "35 rows for 4 columns: fewer than 10 rows per column"),
        (lambda z: torch.cat([z, torch.ones(300, 1)], 1), "constant column 4"),
        (lambda z: torch.cat([z, -2 * z[:, :1] + 1], 1), "duplicated columns .*: 0 = 4"),
        (lambda z: torch.cat([z, torch.randint(0, 9, (300, 1)).float()], 1), "only integers in column 4"),
        (lambda z: z.half(), "codes in float16"),
        (lambda z: z.bfloat16(), "codes in bfloat16"),
        (lambda z: z.numpy().astype(np.float16), "codes in float16"),
    ],
)
def test_doubtful_codes_are_scored_with_a_warning(change, message):
    with pytest.warns(UserWarning, match=message):
        result = lps(change(torch.randn(300, 4)), bootstrap=0)
    assert math.isfinite(result.score)
    assert any(warning in str(result) for warning in result.warnings)


def test_sound_codes_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lps(torch.randn(300, 4), bootstrap=0).warnings == ()


@pytest.mark.parametrize("predictor", ["linear", "additive", "mlp"])
def test_importance_names_the_input(predictor):
    """z2 leans on z0 alone, z1 on nothing, z3 is inactive."""
    z = torch.randn(2000, 4)
    z[:, 2] = 0.9 * z[:, 0] + 0.3 * z[:, 2]
    z[:, 3] = 0
    matrix = importance(z, predictor, repeats=2)
    assert np.isnan(matrix[3]).all()
    assert np.isnan(np.diag(matrix)).all()
    assert matrix[2, 0] > 0.8
    assert matrix[0, 2] > 0.8
    assert np.abs(matrix[[0, 1, 1, 2], [1, 0, 2, 1]]).max() < 0.05
    np.testing.assert_array_equal(matrix, importance(z, predictor, repeats=2))
    with pytest.raises(InputError, match="repeats: 0"):
        importance(z, predictor, repeats=0)


def test_importance_of_a_linear_predictor_in_closed_form():
    """With f = sum_j b_j z_j and z_j replaced by an independent copy the error grows by 2 b_j^2 var(z_j)."""
    z, _ = equicorrelated(0.5, d=3, n=50_000)
    expected = 2 * (0.5 / 1.5) ** 2
    matrix = importance(z)
    off = matrix[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off, expected, atol=0.02)


def test_the_heat_map_shows_the_matrix():
    matrix = importance(torch.randn(200, 3))
    figure = importance_map(matrix, "which by which")
    image = figure.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), matrix)
    assert figure.axes[0].get_title() == "which by which"
    importance_map(np.full((40, 40), np.nan))


def test_evidence_of_nothing_is_nan():
    evidence = ScoreStatistics(Protocol(), split_rows(40, 1, 0, False), 0)
    assert math.isnan(evidence.score())
    assert math.isnan(evidence.null())
    assert evidence.seed_scores() == ()
    assert evidence.p_values().per_dimension is None
