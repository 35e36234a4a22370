"""Outcomes against scikit-learn, scipy and brute force."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import log_loss, r2_score

from mmdprior.predictors import Classification, Regression


def test_regression_is_sklearns_r2_under_any_weights():
    y, f = torch.randn(2, 40, 3), torch.randn(2, 40, 3)
    outcome = Regression(y, f)
    counts = torch.randint(0, 4, (5, 40)).double()
    counts[:, -1] += 40 * 5 - counts.sum(1)
    counts = counts * 40 / counts.sum(1, keepdim=True)
    drawn = outcome.resampled(counts)
    for p in range(2):
        for i in range(3):
            target, prediction = y[p, :, i].numpy(), f[p, :, i].numpy()
            assert float(outcome.r2()[p, i]) == pytest.approx(r2_score(target, prediction))
            for b in range(5):
                expected = r2_score(target, prediction, sample_weight=counts[b].numpy())
                assert float(drawn[b, p, i]) == pytest.approx(expected)
    pairs = [Regression(y.roll(s, 1), f).r2() for s in range(40)]
    torch.testing.assert_close(outcome.chance(), torch.stack(pairs).mean(0))


def test_classification_is_entropy_minus_log_loss():
    bins, logits = torch.randint(0, 4, (1, 60, 2)), torch.randn(1, 60, 2, 4, dtype=torch.float64)
    outcome = Classification(bins, logits.log_softmax(3))
    for i in range(2):
        frequencies = np.bincount(bins[0, :, i], minlength=4) / 60
        nats = stats.entropy(frequencies) - log_loss(
            bins[0, :, i], logits[0, :, i].softmax(1), labels=range(4)
        )
        assert float(outcome.r2()[0, i]) == pytest.approx(1 - np.exp(-2 * nats), rel=1e-4)
        assert float(outcome.nats()[0, i]) == pytest.approx(max(nats, 0), rel=1e-4, abs=1e-9)
    torch.testing.assert_close(outcome.resampled(torch.ones(1, 60))[0], outcome.r2())
    losses = torch.stack([Classification(bins.roll(s, 1), logits.log_softmax(3)).loss for s in range(60)])
    entropy = torch.tensor([stats.entropy(np.bincount(bins[0, :, i])) for i in range(2)])
    torch.testing.assert_close(outcome.chance()[0], 1 - torch.exp(-2 * (entropy - losses.mean((0, 2))[0])))
