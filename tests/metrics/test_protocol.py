"""Splits, transforms, shuffled copies, folds and seeds of LPS."""

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated

from mmdprior import lps
from mmdprior.metrics import Protocol
from mmdprior.metrics.protocol import fit_problems, split_rows
from mmdprior.predictors import LinearPredictor, MLPPredictor


@pytest.mark.parametrize("predictor", ["linear", "mlp"])
def test_folds_score_every_row(predictor):
    z, truth = equicorrelated(0.5, d=4, n=1003)
    splits = split_rows(1003, 5, 0, uses_validation=predictor == "mlp")
    tested = torch.cat([split.test for split in splits])
    assert len(tested) == len(tested.unique()) == 1000
    for split in splits:
        assert len(torch.cat(split).unique()) == 1003
    result = lps(z, predictor, folds=5, bootstrap=200)
    assert result.n_test == 1000
    assert result.score == pytest.approx(truth, abs=0.04)
    assert result.p_value < 0.05
    assert lps(torch.rand(1003, 4), predictor, folds=5, bootstrap=0, null=0).p_value > 0.05


def test_problems_in_groups_equal_problems_fitted_together(monkeypatch):
    z, _ = equicorrelated(0.4, d=4, n=300)
    together = lps(z, MLPPredictor(hidden=(8,), epochs=3), folds=3, seeds=2, null=1)
    monkeypatch.setattr("mmdprior.metrics.protocol._ENTRIES", 1)
    grouped = lps(z, MLPPredictor(hidden=(8,), epochs=3), folds=3, seeds=2, null=1)
    np.testing.assert_allclose(together.r2, grouped.r2, atol=1e-4)
    assert together.p_value == grouped.p_value
    assert together.interval == pytest.approx(grouped.interval, abs=1e-4)
    assert together.null == pytest.approx(grouped.null, abs=1e-4)


def test_seeds_are_averaged_and_the_first_is_that_of_one_seed():
    z, _ = equicorrelated(0.4, d=4, n=600)
    model = MLPPredictor(hidden=(8,), epochs=5)
    one, three = lps(z, model), lps(z, model, seeds=3)
    assert len(three.seed_scores) == 3
    assert len(set(three.seed_scores)) == 3
    assert three.seed_scores[0] == pytest.approx(one.score, abs=1e-4)
    assert three.mean_r2 == pytest.approx(np.mean(three.seed_scores), abs=0.01)
    assert len(lps(z, "linear", seeds=3).seed_scores) == 1


def test_shuffled_copies_keep_only_the_marginals():
    z, _ = equicorrelated(0.9, d=4, n=500)
    problems = []

    class Spy(LinearPredictor):
        def fit(self, train, validation, generators):
            problems.append(train)
            return super().fit(train, validation, generators)

    splits = split_rows(500, 1, 0, False)
    list(fit_problems(z, Spy(), Protocol(transform="none", null=3), 0, splits))
    assert problems[0].shape[0] == 4
    for copy in problems[0][1:]:
        assert float((torch.corrcoef(copy.T) - torch.eye(4)).abs().max()) < 0.25
    assert not torch.equal(problems[0][1], problems[0][2])
    assert lps(z).null < 0.02
