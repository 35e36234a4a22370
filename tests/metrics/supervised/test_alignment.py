"""Scores before and after permutation, rotation and FastICA; UDR."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch
from helpers.factor_tables import ROTATION, grid, standardised
from helpers.shape_checks import no_checks
from scipy.linalg import orthogonal_procrustes

from mmdprior import InputError
from mmdprior.metrics import alignment, udr
from mmdprior.metrics.supervised.correlation import best_match
from mmdprior.seeding import stream

FACTORS = grid((3, 4, 5, 4, 3))
IDENTITY = standardised(FACTORS) + 0.05 * np.random.default_rng(0).normal(size=FACTORS.shape)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_rotation_is_found_on_the_other_half():
    result = alignment(IDENTITY @ ROTATION, FACTORS, scores=["sap_r2", "mcc_pearson"])
    assert result.scores["codes"]["sap_r2"] < 0.4
    assert result.scores["rotation"]["sap_r2"] > 0.95
    assert result.scores["ica"]["mcc_pearson"] > 0.95
    np.testing.assert_allclose(result.rotation @ result.rotation.T, np.eye(5), atol=1e-9)
    # Factors are rows of the inverse, up to the scale of codes.
    np.testing.assert_allclose(result.rotation, ROTATION.T, atol=0.05)
    json.dumps(result.to_dict(), allow_nan=False)
    assert "rotation" in str(result)


def test_a_permutation_keeps_one_code_per_factor():
    codes = np.hstack([IDENTITY[:, [4, 2, 0]], np.ones((len(FACTORS), 1)), IDENTITY[:, [1, 3]], IDENTITY])
    result = alignment(codes, FACTORS, scores=["sap_r2"])
    assert result.scores["codes"]["sap_r2"] < 0.05
    assert result.scores["permutation"]["sap_r2"] > 0.95
    assert sorted(result.match % 6)[:1] >= [0]
    assert all(result.pearson[code, k] > 0.99 for k, code in enumerate(result.match))
    assert np.isnan(result.pearson[3]).all()


def test_rotation_equals_scipy():
    """For ordinal factors the targets are the standardised values, filled up with zeros."""
    codes = IDENTITY @ ROTATION + 0.3 * np.random.default_rng(1).normal(size=IDENTITY.shape)
    more = np.hstack([codes, codes[:, :2] + np.random.default_rng(2).normal(size=(len(codes), 2))])
    for z in (codes, more):
        rows = torch.randperm(len(z), generator=stream(0, "alignment/halves")).tensor_split(2)[0].numpy()
        targets = np.zeros_like(z[rows])
        targets[:, :5] = standardised(FACTORS[rows])
        expected = orthogonal_procrustes(standardised(z[rows]), targets)[0][:, :5]
        result = alignment(z, FACTORS, scores=["sap_r2"])
        np.testing.assert_allclose(result.rotation[:, :5], expected, atol=1e-9)


def test_match_equals_brute_force():
    for d in (2, 4, 5):
        matrix = np.random.default_rng(d).random((d, 3))
        ours = best_match(torch.tensor(matrix)).numpy()
        total = sum(matrix[code, k] for k, code in enumerate(ours) if code >= 0)
        if d >= 3:
            best = max(matrix[list(p), range(3)].sum() for p in permutations(range(d), 3))
        else:
            best = max(matrix[range(d), list(p)].sum() for p in permutations(range(3), d))
        assert total == pytest.approx(best)
        assert len(set(ours[ours >= 0])) == min(d, 3)


def test_scores_are_means_of_the_scores_of_factors():
    with_constant = np.column_stack([np.full(len(FACTORS), 3), FACTORS])
    result = alignment(IDENTITY @ ROTATION, with_constant, scores=["mig", "sap_r2", "mcc_pearson"])
    for title, scores in result.scores.items():
        for name, score in scores.items():
            values = result.per_factor[title][name]
            assert np.isnan(values[0])
            assert np.mean(values[1:]) == pytest.approx(score)


@pytest.mark.parametrize("kinds", ["discrete", "circular", "continuous", "ordinal"])
def test_every_kind_and_few_codes(kinds):
    result = alignment(IDENTITY[:, :2] @ np.array([[0.6, 0.8], [-0.8, 0.6]]), FACTORS, kinds=kinds)
    assert np.isfinite(list(result.scores["rotation"].values())).all()
    assert (result.match >= 0).sum() == 2


@pytest.mark.parametrize(
    ("codes", "factors"),
    [(np.zeros((100, 2)), FACTORS[:100]), (IDENTITY[:15], FACTORS[:15]), (IDENTITY, np.ones(len(FACTORS)))],
)
def test_alignment_needs_codes_factors_and_rows(codes, factors):
    with pytest.raises(InputError, match="give at least 1, 1 and 16"):
        alignment(codes, factors)


Z = np.random.default_rng(0).normal(size=(2000, 4))


@pytest.mark.parametrize("method", ["lasso", "spearman"])
def test_udr_of_models_that_agree(method):
    """Lasso with alpha = 0.1 shrinks the coefficient of an equal standardised code to 0.9."""
    result = udr([Z, -3 * Z[:, [2, 0, 1, 3]], Z @ np.linalg.qr(Z[:4])[0]], method=method)
    assert result.pairs[0, 1] == pytest.approx(0.9 if method == "lasso" else 0.93, abs=0.03)
    assert result.pairs[0, 2] < 0.6
    assert result.scores.argmin() == 2
    assert "UDR" in str(result)


def test_udr_leaves_out_codes_without_information():
    noise = np.random.default_rng(1).normal(size=(2, 2000, 1))
    models = [np.hstack([Z, noise[0]]), np.hstack([Z, noise[1]])]
    kl = [np.array([1, 1, 1, 1, 0.001])] * 2
    assert udr(models, kl=kl).pairs[0, 1] == pytest.approx(udr([Z, Z]).pairs[0, 1], abs=1e-6)
    assert udr(models).pairs[0, 1] < udr(models, kl=kl).pairs[0, 1]
    with pytest.warns(UserWarning, match="model 1 has no informative code"):
        assert udr([Z, np.zeros((2000, 3))]).scores.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("models", "options", "text"),
    [
        ([Z], {}, "models: 1 received"),
        ([Z, Z[:10]], {}, "encode the same images"),
        ([Z, Z], {"method": "pearson"}, "expected lasso or spearman"),
        ([Z, Z], {"kl": [np.ones(4), np.ones(3)]}, "received for model 1"),
    ],
)
def test_udr_rejects(models, options, text):
    with no_checks(), pytest.raises(InputError, match=text):
        udr(models, **options)
