"""Predictors against scikit-learn and brute force, and the contract that each of them keeps."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, r2_score

from mmdprior import InputError
from mmdprior.predictors import (
    AdditivePredictor,
    Classification,
    ExpertsPredictor,
    InformationPredictor,
    LinearPredictor,
    LoopedPredictor,
    MLPPredictor,
    Ranks,
    Regression,
    TreesPredictor,
)
from mmdprior.predictors.moments import covariance, inverse, mean_and_std

SMALL = {
    "linear": LinearPredictor,
    "additive": lambda: AdditivePredictor(features=4),
    "mlp": lambda: MLPPredictor(hidden=(16,), epochs=6),
    "experts": lambda: ExpertsPredictor(experts=3, iterations=12, trial=4),
    "information": lambda: InformationPredictor(bins=6, hidden=(16,), epochs=6),
    "looped": lambda: LoopedPredictor(lambda seed: Ridge()),
}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def dependent(*shape):
    """Codes with linear, quadratic and no dependence."""
    z = torch.randn(*shape, 5)
    z[..., 1] += z[..., 0]
    z[..., 2] = z[..., 0].square() + 0.2 * z[..., 2]
    return (z - z.mean(-2, keepdim=True)) / z.std(-2, keepdim=True)


def said(outcome):
    """What was predicted, whatever the kind."""
    if isinstance(outcome, Classification):
        return outcome.log_probabilities.double()
    return outcome.prediction - outcome.prediction.mean(1, keepdim=True)


@pytest.fixture(params=SMALL)
def predictor(request):
    return SMALL[request.param]()


def test_fitting_together_is_fitting_one_by_one(predictor):
    z, held, test = dependent(3, 300), dependent(3, 100), dependent(3, 80)
    together = predictor.fit(z, held, generators(1, 2, 3))(test)
    for i in range(3):
        alone = predictor.fit(z[i : i + 1], held[i : i + 1], generators(i + 1))(test[i : i + 1])
        torch.testing.assert_close(together.r2()[i], alone.r2()[0], atol=2e-3, rtol=0)


def test_own_coordinate_is_never_used(predictor):
    z, held, test = dependent(1, 400), dependent(1, 100), dependent(1, 60)
    fitted = predictor.fit(z, held, generators(0))
    changed = test.clone()
    changed[:, :, 0] = torch.randn(60)
    before, after = said(fitted(test)), said(fitted(changed))
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, :, 1], after[:, :, 1], atol=1e-3)


def test_equal_generators_give_equal_fits(predictor):
    z, held, test = dependent(1, 300), dependent(1, 100), dependent(1, 60)
    first, second = (predictor.fit(z, held, generators(5))(test).r2() for _ in range(2))
    assert torch.equal(first, second)


def test_neither_the_mode_of_the_caller_nor_the_type_matters(predictor):
    z, held, test = dependent(1, 300), dependent(1, 100), dependent(1, 60)
    plain = predictor.fit(z, held, generators(5))(test).r2()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        guarded = predictor.fit(z * 1, held * 1, generators(5))(test * 1).r2()
    torch.testing.assert_close(plain, guarded, atol=1e-6, rtol=0)
    wide = predictor.fit(z.double(), held.double(), generators(5))(test.double()).r2()
    torch.testing.assert_close(plain, wide, atol=2e-3, rtol=0)


@pytest.mark.gpu
def test_devices_agree(predictor):
    z, held, test = dependent(2, 2000), dependent(2, 600), dependent(2, 600)
    here = predictor.fit(z, held, generators(1, 2))(test).r2()
    there = predictor.fit(z.cuda(), held.cuda(), generators(1, 2))(test.cuda()).r2().cpu()
    exact = isinstance(predictor, LinearPredictor | AdditivePredictor)
    torch.testing.assert_close(here, there, atol=1e-4 if exact else 0.01, rtol=0)


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


def test_classification_is_entropy_less_log_loss():
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


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_mean_and_std_are_numpys(monkeypatch, kind):
    monkeypatch.setattr("mmdprior.predictors.moments._CACHED", 100)
    z = (torch.randn(500, 4, dtype=torch.float64) * torch.tensor([1, 1e-6, 1e20, 0]) + 0.1).to(kind)
    mean, std = mean_and_std(z)
    assert mean.dtype == std.dtype == kind
    assert std[3] == 0
    np.testing.assert_allclose(mean, z.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, z.double().std(0, correction=0), rtol=1e-6)


def test_covariance_in_blocks_is_numpys(monkeypatch):
    monkeypatch.setattr("mmdprior.predictors.moments._BLOCK", 1000)
    z = 1e4 + torch.randn(2, 500, 6)
    mean, cov = covariance(z)
    for i in range(2):
        np.testing.assert_allclose(mean[i, 0], z[i].double().mean(0))
        np.testing.assert_allclose(cov[i], np.cov(z[i].double().T, bias=True), atol=1e-9)


def test_many_features_are_summed_in_single_precision(monkeypatch):
    z = torch.rand(1, 5000, 3)
    exact = covariance(z, torch.cos)[1]
    monkeypatch.setattr("mmdprior.predictors.moments._SLOW", 0)
    torch.testing.assert_close(covariance(z, torch.cos)[1], exact, atol=1e-6, rtol=0)


def test_inverses_of_batches_larger_than_a_hundred_columns():
    """The CPU's batched LU of torch 2.14 is wrong there, and says nothing."""
    a = torch.randn(3, 200, 400, dtype=torch.float64)
    a = a @ a.mT / 400
    torch.testing.assert_close(inverse(a) @ a, torch.eye(200, dtype=torch.float64).expand(3, -1, -1))
    a[1] = torch.ones(200, 200)
    torch.testing.assert_close(inverse(a)[1] @ a[1] @ inverse(a)[1], inverse(a)[1])


@pytest.mark.parametrize("n", [300, 6000])
def test_ranks_are_scipys(n):
    z = torch.cat([torch.randn(1, n, 2), torch.randint(0, 5, (1, n, 1)).float()], 2)
    u = Ranks(z).uniform(z)
    expected = (stats.rankdata(z[0], axis=0) - 0.5) / n
    np.testing.assert_allclose(u[0], expected, atol=1e-6 if n == 300 else 2 / 4096)
    normal = Ranks(z).gaussian(z)
    np.testing.assert_allclose(normal[0, :, 0], stats.norm.ppf(u[0, :, 0]), atol=1e-4)
    outside = Ranks(z).uniform(torch.tensor([[[-100.0] * 3, [100.0] * 3]]))
    assert outside.min() > 0
    assert outside.max() < 1


def test_additive_is_the_best_canonical_function_by_brute_force():
    """Ridge regressions of the features of one coordinate on those of the others, then an eigenproblem."""
    from scipy.linalg import eigh

    z, held, test = dependent(1, 500), dependent(1, 200), dependent(1, 200)
    ridge, m = 0.01, 4
    outcome = AdditivePredictor(m, [ridge]).fit(z, held, generators(0))(test)

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
        given = np.delete(psi - center, i, 1).reshape(200, -1)
        scale = slopes(held, i, slope @ a, a)
        assert float(outcome.r2()[0, i]) == pytest.approx(
            r2_score(target, scale * given @ slope @ a), abs=1e-4
        )
        plain = np.linalg.solve(gram, x.T @ (z[0, :, i].double().numpy() - z[0, :, i].mean().item()) / 500)
        scale = slopes(held, i, plain, None)
        expected = r2_score(test[0, :, i] - z[0, :, i].mean(), scale * given @ plain)
        assert float(outcome.extra["plain_r2"][0, i]) == pytest.approx(expected, abs=1e-4)


def test_networks_that_are_done_leave_and_come_back(monkeypatch):
    """Dropping finished networks changes nothing for the others but rounding."""
    z, held, test = dependent(1, 400), dependent(1, 200), dependent(1, 200)
    model = MLPPredictor(hidden=(16,), epochs=25, patience=2)
    dropped = model.fit(z, held, generators(0))(test).r2()
    monkeypatch.setattr("mmdprior.predictors.networks._MIN_STOPPED_SHARE", 1.0)
    torch.testing.assert_close(model.fit(z, held, generators(0))(test).r2(), dropped, atol=1e-4, rtol=0)


def test_trees_see_a_parabola_and_name_their_extra(monkeypatch):
    z = dependent(1, 800)
    assert float(TreesPredictor().fit(z, z[:, :0], generators(0))(dependent(1, 200)).r2()[0, 2]) > 0.6
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"mmdprior\[metrics\]"):
        TreesPredictor()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearPredictor(-1.0), "ridge: -1.0"),
        (lambda: MLPPredictor(epochs=0), "epochs: 0"),
        (lambda: MLPPredictor(hidden=()), "hidden"),
        (lambda: MLPPredictor(weight_decay=-1.0), "weight_decay"),
        (lambda: AdditivePredictor(features=0), "features: 0"),
        (lambda: AdditivePredictor(ridges=[0.0]), "ridges"),
        (lambda: InformationPredictor(bins=1), "bins: 1"),
        (lambda: InformationPredictor(hidden=(0,)), "hidden"),
        (lambda: ExpertsPredictor(experts=0), "experts: 0"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
