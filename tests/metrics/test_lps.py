"""LPS against scikit-learn and against codes whose answer is known."""

import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from helpers.codes import QUICK, circle, duplicate, equicorrelated, parabola, sphere, xor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from mmdprior import InputError, Latent, lps
from mmdprior.evaluation import Codes, score_codes
from mmdprior.metrics import active_dimensions
from mmdprior.metrics.lps import find_predictor
from mmdprior.metrics.protocol import split_rows
from mmdprior.predictors import (
    ExpertsPredictor,
    InformationPredictor,
    LinearPredictor,
    MLPPredictor,
    Predictor,
    Regression,
)

FAMILIES = {
    "independent": lambda n: torch.randn(n, 4),
    "circle": circle,
    "sphere": sphere,
    "parabola": parabola,
    "xor": xor,
    "duplicate": duplicate,
    "gaussian": lambda n: equicorrelated(0.5, d=4, n=n)[0].float(),
}
# R2_i of the population of each family, or for additive what its basis reaches, as (low, high).
NOTHING = (-0.02, 0.02)
GAUSSIAN = (0.34, 0.41)
SEEN = {
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


def fast(predictor, family=None):
    """Return the predictor with fewer, larger steps, or fewer experts, where that is enough."""
    settings = {"batch_size": 1024, "learning_rate": 0.01, "patience": 3}
    if predictor == "mlp":
        return MLPPredictor(**settings, epochs=25)
    if predictor == "information":
        return InformationPredictor(**settings, epochs=15)
    if predictor == "experts":
        if family == "xor":
            return ExpertsPredictor(starts=1, iterations=60, patience=5)
        return ExpertsPredictor(experts=4, iterations=30, patience=3, trial=5)
    return predictor


@pytest.mark.parametrize("predictor", SEEN)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_predictor_sees_what_its_class_can_see(predictor, family):
    z = FAMILIES[family](8000 if (predictor, family) == ("experts", "xor") else 20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        r2 = lps(z, fast(predictor, family), **QUICK).r2
    if family == "gaussian" and predictor != "information":
        assert np.mean(r2) == pytest.approx(0.375, abs=0.02)
    for value, (low, high) in zip(r2, SEEN[predictor].get(family, [NOTHING] * len(r2)), strict=True):
        assert low <= value <= high, r2


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
    z, expected = equicorrelated(rho, n=20_000)
    result = lps(z, predictor, **QUICK)
    assert abs(result.score - expected) < 0.015
    assert np.abs(result.r2 - expected).max() < 0.05


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
def test_independent_codes_score_zero(predictor):
    z, _ = equicorrelated(0.0, n=20_000)
    assert lps(z, predictor, **QUICK).score < 0.005


def test_only_the_mlp_sees_a_parabola():
    z = parabola(20_000)
    assert lps(z, "linear").max < 0.01
    result = lps(z, "mlp", **QUICK)
    assert result.r2[1] > 0.98
    assert result.r2[0] < 0.02


def test_duplicate_is_fully_predictable():
    z = torch.cat([duplicate(5000), torch.randn(5000, 1)], dim=1)
    with pytest.warns(UserWarning, match="duplicated columns"):
        assert np.abs(lps(z, "linear").r2 - [1, 1, 0]).max() < 0.01


def test_regressions_of_the_mean_cannot_see_a_circle():
    z = circle(20_000)
    assert lps(z, "linear").max < 0.01
    assert lps(z, "mlp", **QUICK).max < 0.02


def test_scale_and_shift_of_a_dimension_have_no_effect():
    z, _ = equicorrelated(0.5, d=4)
    moved = z * torch.tensor([1.0, 30.0, 0.1, 1.0]) + torch.tensor([0.0, 5.0, -3.0, 100.0])
    np.testing.assert_allclose(lps(moved).r2, lps(z).r2, atol=1e-6)


def test_monotone_maps_have_no_effect_on_ranks():
    z, truth = equicorrelated(0.6, d=3, n=4000)
    bent = torch.stack([z[:, 0].exp(), z[:, 1] ** 3, 5 - z[:, 2]], 1)
    plain, mapped = (lps(codes, transform="rank_gaussian", bootstrap=0) for codes in (z, bent))
    np.testing.assert_allclose(plain.r2, mapped.r2, atol=1e-4)
    assert plain.score == pytest.approx(truth, abs=0.03)
    assert plain.information_bound == pytest.approx(-0.5 * np.log1p(-plain.r2).sum())
    assert np.isnan(lps(z, bootstrap=0).information_bound)
    result = lps(parabola(20_000), "mlp", transform="rank_gaussian", **QUICK)
    assert result.max == pytest.approx(0.905, abs=0.02)


def test_nats_of_gaussians():
    """I(z_i; others) = -1/2 log(1 - R2_i), of which 16 bins keep most."""
    z, truth = equicorrelated(0.6, d=2, n=20_000)
    result = lps(z, fast("information"), **QUICK)
    expected = -0.5 * np.log1p(-truth)
    assert 0.9 * expected < result.extra["nats"].mean() < 1.02 * expected
    assert result.information_bound == pytest.approx(result.extra["nats"].sum())


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
def test_the_mode_of_the_caller_has_no_effect(mode):
    z, _ = equicorrelated(0.6, d=3, n=400)
    expected = lps(z.float(), "mlp").score
    with mode():
        assert lps(z.float(), "mlp").score == expected
        assert lps(z.float() * 1, "mlp").score == expected


@pytest.mark.parametrize("predictor", ["linear", "additive", "mlp", "experts", "information"])
def test_the_default_dtype_of_the_caller_has_no_effect(predictor):
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


def test_means_and_samples_of_a_stochastic_encoder_share_a_mask():
    n = 4000
    mean = torch.randn(n, 3) * torch.tensor([1.0, 1.0, 0.01])
    log_var = torch.log(torch.tensor([0.01, 0.01, 1.0])).expand(n, 3)
    mean[:, 1] = mean[:, 0]
    sample = mean + (0.5 * log_var).exp() * torch.randn(n, 3)
    latent = Latent(sample, mean, log_var)
    assert active_dimensions(latent).tolist() == [True, True, False]
    with pytest.warns(UserWarning, match="duplicated columns"):
        result = score_codes(Codes(latent, torch.empty(n, 0), ()), ["linear"])
    assert result.lps["mean", "linear"].score > 0.99
    assert 0.9 < result.lps["sample", "linear"].score < 0.99
    assert result.scalars()["lps/linear_sample"] == result.lps["sample", "linear"].score
    assert result.active == 2


def test_a_custom_predictor():
    class Mean(Predictor):
        uses_validation = False

        def fit(self, train, validation, generators):
            return lambda z: Regression(z, train.mean(1, keepdim=True).expand_as(z))

    result = lps(torch.randn(100, 3), Mean())
    assert result.predictor == "Mean"
    assert result.score < 1e-6


def test_bad_settings_raise():
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


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (["linear", "mlp"], r"received; give one per call, \{name: lps\(codes, name\) for name in names\}"),
        ({"linear"}, "give one per call"),
        ({"name": "mlp"}, "give one per call"),
        (LinearPredictor, r"class LinearPredictor received; give LinearPredictor\(\)"),
        (Ridge(), r"Ridge\(\) received; give it as predictors.LoopedPredictor"),
        (None, "None received; give one of"),
        ("liner", "'liner' received; give one of"),
    ],
)
def test_what_is_no_predictor_is_refused_in_one_line(predictor, message):
    # Without the type checks of tests/conftest.py, which would raise first.
    with pytest.raises(InputError, match=message) as error:
        inspect.unwrap(find_predictor)(predictor)
    assert "\n" not in str(error.value)
    assert "mmdprior." not in str(error.value)


NO_INTEGERS = """
import torch
from mmdprior import importance, lps
from mmdprior.metrics import PriorMatch, Protocol
from mmdprior.metrics.hsic import dhsic
from mmdprior.metrics.pairs import distance_correlation, mutual_information
from mmdprior.predictors import AdditivePredictor, ExpertsPredictor, InformationPredictor, MLPPredictor
from mmdprior.priors import Gaussian

z = torch.randn(60, 3)
calls = [(lps, (z,), name) for name in ("folds", "seeds", "null", "permutations", "bootstrap", "seed")]
calls += [(importance, (z,), name) for name in ("repeats", "seed")] + [(PriorMatch, (Gaussian(3),), "n")]
calls += [(mutual_information, (z,), "bins"), (dhsic, (z,), "permutations")]
calls += [(function, (z,), "max_rows") for function in (mutual_information, distance_correlation, dhsic)]
calls += [(AdditivePredictor, (), "features"), (InformationPredictor, (), "bins")]
calls += [(MLPPredictor, (), name) for name in ("epochs", "patience", "batch_size")]
calls += [(ExpertsPredictor, (), name) for name in ("experts", "starts", "trial", "iterations", "patience")]
for function, arguments, name in calls:
    for value in (7.0, 2.5, "7", [7], float("nan")):
        try:
            function(*arguments, **{name: value})
        except ValueError as error:
            assert str(error).startswith(f"{name}: {value!r} received; give an integer"), error
        else:
            raise AssertionError((function, name, value))
"""


def test_counts_are_integers_everywhere():
    subprocess.run([sys.executable, "-W", "ignore", "-c", NO_INTEGERS], check=True)  # without type checks
