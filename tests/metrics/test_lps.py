"""LPS against scikit-learn and against families whose answer is known."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from mmdprior import InputError, Latent, lps
from mmdprior.evaluation import Codes, score_codes
from mmdprior.metrics import active_dimensions, effective_rank
from mmdprior.metrics.protocol import split_rows
from mmdprior.predictors import LinearPredictor, Predictor, Regression


def equicorrelated(rho, d=8, n=20_000, seed=0):
    covariance = torch.full((d, d), rho, dtype=torch.float64)
    covariance.fill_diagonal_(1.0)
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    return z, float(1 - 1 / torch.linalg.inv(covariance)[0, 0])


@pytest.mark.parametrize("ridge", [1e-8, 0.1])
def test_linear_equals_sklearn_dimension_by_dimension(ridge):
    z = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    result = lps(z, LinearPredictor(ridge), seed=4)
    rows = split_rows(len(z), 1, 4, uses_validation=False)[0]
    train, test = z[rows.train], z[rows.test]
    mean, std = train.mean(0), train.std(0, correction=0)
    train, test = ((train - mean) / std).numpy(), ((test - mean) / std).numpy()
    for i in range(6):
        x, target = np.delete(train, i, 1), train[:, i]
        oracle = Ridge(alpha=ridge * len(train)).fit(x, target)
        expected = r2_score(test[:, i], oracle.predict(np.delete(test, i, 1)))
        assert abs(result.r2[i] - expected) < 1e-8
    assert result.score == pytest.approx(np.maximum(result.r2, 0).mean())
    assert result.max == pytest.approx(result.r2.max())


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_equicorrelated_gaussians(rho, predictor):
    z, expected = equicorrelated(rho)
    result = lps(z, predictor)
    assert abs(result.score - expected) < 0.015
    assert np.abs(result.r2 - expected).max() < 0.05


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
def test_independent_codes_score_nothing(predictor):
    z, _ = equicorrelated(0.0)
    assert lps(z, predictor).score < 0.005


def test_parabola_is_seen_by_the_mlp_alone():
    a, b = torch.randn(2, 20_000)
    z = torch.stack([a, a.square() + 0.1 * b], dim=1)
    assert lps(z, "linear").max < 0.01
    result = lps(z, "mlp")
    assert result.r2[1] > 0.98
    assert result.r2[0] < 0.02


def test_duplicate_is_fully_predictable():
    a = torch.randn(5000, 1)
    z = torch.cat([a, a, torch.randn(5000, 1)], dim=1)
    assert np.abs(lps(z, "linear").r2 - [1, 1, 0]).max() < 0.01


def test_circle_is_hidden_from_regressions_of_the_mean():
    t = 2 * torch.pi * torch.rand(20_000)
    z = torch.stack([t.cos(), t.sin()], dim=1)
    assert lps(z, "linear").max < 0.01
    assert lps(z, "mlp").max < 0.02


def test_scale_and_shift_of_a_dimension_do_not_matter():
    z, _ = equicorrelated(0.5, d=4, n=2000)
    moved = z * torch.tensor([1.0, 30.0, 0.1, 1.0]) + torch.tensor([0.0, 5.0, -3.0, 100.0])
    np.testing.assert_allclose(lps(moved).r2, lps(z).r2, atol=1e-6)


def test_equal_seeds_give_equal_results_and_numpy_equals_torch():
    z, _ = equicorrelated(0.4, d=4, n=1000)
    first = lps(z, "mlp", seed=7)
    assert lps(z.numpy(), "mlp", seed=7).to_json() == first.to_json()
    assert lps(z, "mlp", seed=8).score != first.score
    before = torch.get_rng_state()
    lps(z, "mlp")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_the_mode_of_the_caller_does_not_matter(mode):
    z, _ = equicorrelated(0.6, d=3, n=1000)
    expected = lps(z.float(), "mlp").score
    with mode():
        assert lps(z.float(), "mlp").score == expected
        assert lps(z.float() * 1, "mlp").score == expected


@pytest.mark.parametrize("predictor", ["linear", "additive", "mlp", "experts", "information"])
def test_the_default_type_of_the_caller_does_not_matter(predictor):
    z, _ = equicorrelated(0.6, d=3, n=400)
    expected = lps(z.float(), predictor, null=0).score
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert lps(z.float(), predictor, null=0).score == pytest.approx(expected, abs=1e-6)
    finally:
        torch.set_default_dtype(before)


def test_ridge_scales_with_the_codes():
    z, _ = equicorrelated(0.6, d=3, n=1000)
    assert lps(z * 1e-6, transform="none").score == pytest.approx(lps(z, transform="none").score, abs=1e-9)


def test_inactive_dimensions_are_neither_targets_nor_inputs():
    z = torch.randn(1000, 4)
    z[:, 2] = 3.0
    result = lps(z)
    assert result.active.tolist() == [True, True, False, True]
    assert np.isnan(result.r2[2])
    assert json.loads(result.to_json())["r2"][2] is None
    np.testing.assert_allclose(result.r2[[0, 1, 3]], lps(z[:, [0, 1, 3]]).r2)


def test_fewer_than_two_active_dimensions_have_no_score():
    z = torch.zeros(100, 3)
    z[:, 0] = torch.randn(100)
    result = lps(z)
    assert np.isnan(result.score)
    assert json.loads(result.to_json())["score"] is None
    assert np.isnan(lps(torch.zeros(100, 3)).max)


def test_codes_of_a_stochastic_encoder_are_scored_twice_under_one_mask():
    n = 4000
    mean = torch.randn(n, 3) * torch.tensor([1.0, 1.0, 0.01])
    log_var = torch.log(torch.tensor([0.01, 0.01, 1.0])).expand(n, 3)
    mean[:, 1] = mean[:, 0]
    sample = mean + (0.5 * log_var).exp() * torch.randn(n, 3)
    latent = Latent(sample, mean, log_var)
    assert active_dimensions(latent).tolist() == [True, True, False]
    result = score_codes(Codes(latent, torch.empty(n, 0), ()), ["linear"])
    assert result.lps["mean", "linear"].score > 0.99
    assert 0.9 < result.lps["sample", "linear"].score < 0.99
    assert result.scalars()["lps/linear_sample"] == result.lps["sample", "linear"].score
    assert result.active == 2


def test_a_predictor_of_ones_own():
    class Mean(Predictor):
        uses_validation = False

        def fit(self, train, validation, generators):
            return lambda z: Regression(z, train.mean(1, keepdim=True).expand_as(z))

    result = lps(torch.randn(100, 3), Mean())
    assert result.predictor == "Mean"
    assert result.score < 1e-6


def test_result_prints_what_went_into_it():
    text = str(lps(torch.randn(100, 3)))
    assert "3 of 3 dimensions active" in text
    assert "fitted on 80, scored on 20" in text


def test_effective_rank():
    assert effective_rank(torch.randn(20_000, 6)) == pytest.approx(6, abs=0.01)
    assert effective_rank(torch.randn(500, 1) @ torch.ones(1, 4)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((50, 3), float("nan")), "NaN or infinity in 50 of 50 rows, the first at row 0"),
        (torch.cat([torch.zeros(49, 3), torch.full((1, 3), float("inf"))]), "the first at row 49"),
        (torch.randn(50, 1), "1 column"),
        (torch.randn(50), "two axes"),
        (torch.randn(50, 2, 2), "two axes"),
        (np.array([["a", "b"]] * 50), "<U1 entries"),
        (np.array([[None, 1]] * 50, dtype=object), "object entries"),
        (torch.randn(50, 3, dtype=torch.complex64), "real numbers"),
        (torch.randn(50, 3).to_sparse(), "give a dense array"),
        (torch.zeros(50, 3, device="meta"), "give a dense array"),
        (torch.randn(29, 3), "29 rows received for 3 columns; give at least 30"),
        (torch.randn(41, 40), "give at least 42"),
    ],
)
def test_bad_codes_are_named(codes, message):
    with pytest.raises(InputError, match=message):
        lps(codes)


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, np.int8, np.uint16, np.bool_, ">f8"])
def test_every_kind_of_real_number_is_scored(kind):
    codes = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(kind)
    assert lps(codes).score < 0.2


def test_huge_codes_have_an_effective_rank():
    assert effective_rank(1e200 * torch.randn(500, 3, dtype=torch.float64)) == pytest.approx(3, abs=0.1)


def test_bad_settings_are_named():
    z = torch.randn(50, 3)
    with pytest.raises(InputError, match="predictor: 'forest'"):
        lps(z, "forest")
    with pytest.raises(InputError, match="active: shape"):
        lps(z, active=torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match="folds: 0"):
        lps(z, folds=0)
    with pytest.raises(InputError, match="folds: 6 received for 50 rows; give at most 5"):
        lps(z, folds=6)
    with pytest.raises(InputError, match="null: -1"):
        lps(z, null=-1)


@pytest.mark.gpu
@pytest.mark.parametrize(("predictor", "tolerance"), [("linear", 1e-4), ("mlp", 0.01)])
def test_scores_agree_between_devices(predictor, tolerance):
    z, _ = equicorrelated(0.3, d=16, n=5000)
    assert abs(lps(z, predictor).score - lps(z.cuda(), predictor).score) < tolerance
