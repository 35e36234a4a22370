"""The additive predictor against ridge regressions and an eigenproblem."""

import numpy as np
import pytest
import torch
from helpers.codes import dependent
from scipy import stats
from scipy.linalg import eigh
from sklearn.metrics import r2_score

from mmdprior.predictors import AdditivePredictor, Ranks


def test_additive_is_the_best_canonical_function_by_brute_force():
    """Ridge regressions of the features of one coordinate on those of the others, then an eigenproblem."""
    z, validation, test = dependent(1, 500), dependent(1, 200), dependent(1, 200)
    ridge, m = 0.01, 4
    outcome = AdditivePredictor(m, [ridge]).fit(z, validation, [torch.Generator().manual_seed(0)])(test)

    def features(codes):
        u = Ranks(z).uniform(codes)[0].double().numpy()
        waves = [np.sqrt(2) * np.cos(np.pi * j * u) for j in range(1, m)]
        return np.stack([stats.norm.ppf(u), *waves], 2)

    def slopes(codes, i, coefficients, a):
        inner = features(codes) - center
        f = np.delete(inner, i, 1).reshape(200, -1) @ coefficients
        y = (codes[0, :, i] - z[0, :, i].mean()).numpy() if a is None else inner[:, i] @ a
        return max(y @ f / (f @ f), 0.01)

    phi, psi = features(z), features(test)
    center = phi.mean(0)
    penalty = np.tile([1, 1, 4, 9], 5) * ridge
    for i in range(5):
        x = np.delete(phi - center, i, 1).reshape(500, -1)
        own = phi[:, i] - center[i]
        gram = x.T @ x / 500 + np.diag(penalty[: 4 * m])
        slope = np.linalg.solve(gram, x.T @ own / 500)
        total = own.T @ own / 500 + np.diag(penalty[:m])
        residual = total - (x.T @ own / 500).T @ slope
        a = eigh(residual, total)[1][:, 0]
        target = (psi[:, i] - center[i]) @ a
        others = np.delete(psi - center, i, 1).reshape(200, -1)
        scale = slopes(validation, i, slope @ a, a)
        assert float(outcome.r2()[0, i]) == pytest.approx(
            r2_score(target, scale * others @ slope @ a), abs=1e-4
        )
        plain = np.linalg.solve(gram, x.T @ (z[0, :, i].double().numpy() - z[0, :, i].mean().item()) / 500)
        scale = slopes(validation, i, plain, None)
        expected = r2_score(test[0, :, i] - z[0, :, i].mean(), scale * others @ plain)
        assert float(outcome.extra["plain_r2"][0, i]) == pytest.approx(expected, abs=1e-4)
