"""Parts of the scores against scikit-learn, SciPy and brute force."""

import numpy as np
import pytest
import torch
from helpers.factor_tables import sample, scores_of, standardised
from scipy.special import digamma
from scipy.stats import spearmanr
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.svm import LinearSVC

from mmdprior.metrics import SupervisedProtocol
from mmdprior.metrics.supervised.explicitness import mean_auc
from mmdprior.metrics.supervised.infomec import neighbour_information
from mmdprior.metrics.supervised.logistic import fit_logistic
from mmdprior.metrics.supervised.sap import Machines
from mmdprior.metrics.supervised.table import split_table

RNG = np.random.default_rng(0)
ALL_ROWS = SupervisedProtocol(n_train=2000, n_test=1)


@pytest.fixture(scope="module")
def table():
    factors = sample((2, 4, 7), 2001)
    return standardised(factors @ RNG.normal(size=(3, 4)) + 0.5 * RNG.normal(size=(2001, 4))), factors


def test_mutual_information_equals_scikit_learn(table):
    codes, factors = table
    result = scores_of(codes, factors, "mig", protocol=ALL_ROWS)
    train = train_rows(codes)
    cells = np.stack([np.digitize(z, np.histogram(z, 20)[1][:-1]) for z in codes[train].T], 1)
    expected = [[mutual_info_score(c, f) for f in factors[train].T] for c in cells.T]
    np.testing.assert_allclose(result.matrices["mutual_information"], expected, atol=1e-12)


def train_rows(codes):
    return split_table(len(codes), ALL_ROWS, 0)[0].numpy()


@pytest.mark.parametrize("kind", ["continuous", "lattice"])
def test_neighbour_information_equals_scikit_learn(kind):
    classes = RNG.integers(0, 5, 600)
    x = RNG.normal(size=(3, 600)) + 0.7 * classes
    if kind == "lattice":  # equal distances, which noise separates as in scikit-learn
        x = np.round(x * 50) / 50 + 1e-7 * RNG.normal(size=(3, 600))
    ours = neighbour_information(torch.tensor(x), torch.tensor(classes), 10)
    expected = mutual_info_classif(x.T, classes, discrete_features=False, n_neighbors=10, random_state=0)
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_neighbour_information_of_small_classes_equals_brute_force():
    classes = RNG.integers(0, 100, 300)
    x = RNG.normal(size=300) + 0.7 * classes
    ours = float(neighbour_information(torch.tensor(x[None]), torch.tensor(classes), 10))
    count = np.bincount(classes)[classes]
    x, classes, count = x[count > 1], classes[count > 1], count[count > 1]
    k = np.minimum(count - 1, 10)
    distance = np.abs(x[:, None] - x)
    same = np.where(classes[:, None] == classes, distance, np.inf)
    np.fill_diagonal(same, np.inf)
    radius = np.sort(same, 1)[np.arange(len(x)), k - 1]
    nearer = (distance < radius[:, None]).sum(1)
    expected = digamma(len(x)) + (digamma(k) - digamma(count) - digamma(nearer)).mean()
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_one_feature_machines_equal_liblinear(count):
    n = 10_000
    classes = RNG.choice(count, n, p=np.arange(1, count + 1) / np.arange(1, count + 1).sum())
    x = standardised(np.stack([classes + RNG.normal(size=n), RNG.normal(size=n), classes], 1))
    w, b = Machines.of(torch.tensor(x.T.copy()), torch.tensor(classes), count).fit()
    for j in range(3):
        machine = LinearSVC(C=0.01, class_weight="balanced", tol=1e-9, max_iter=10**5).fit(x[:, [j]], classes)
        ours = (w[j], b[j]) if count > 2 else (w[j, 1:], b[j, 1:])
        np.testing.assert_allclose(ours[0], machine.coef_[:, 0], atol=1e-5)
        np.testing.assert_allclose(ours[1], machine.intercept_, atol=1e-5)


@pytest.mark.parametrize("count", [2, 4, 9])
def test_logistic_regression_equals_scikit_learn(count):
    classes = RNG.integers(0, count, 800)
    x = standardised(RNG.normal(size=(800, 3)) + 0.3 * classes[:, None])
    ours = fit_logistic(torch.tensor(x), torch.tensor(classes), count, tolerance=1e-6).numpy()
    logits = x @ ours[:-1] + ours[-1]
    model = LogisticRegression(tol=1e-8, max_iter=1000).fit(x, classes)
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probability, model.predict_proba(x), atol=2e-3)


def test_mean_auc_equals_scikit_learn():
    classes = RNG.integers(0, 4, 300)
    probability = RNG.dirichlet(np.ones(4), 300).round(2)  # with ties
    expected = np.mean([roc_auc_score(classes == k, probability[:, k]) for k in range(4)])
    assert mean_auc(torch.tensor(probability), torch.tensor(classes)) == pytest.approx(expected)


def test_irs_equals_brute_force(table):
    codes, factors = table
    result = scores_of(codes, factors, "irs", protocol=ALL_ROWS)
    z, v = (array[train_rows(codes)] for array in table)
    largest = np.abs(z - z.mean(0)).max(0)
    matrix = np.zeros((4, 3))
    for k in range(3):
        parts = [z[v[:, k] == level] for level in np.unique(v[:, k])]
        quantiles = [np.percentile(np.abs(part - part.mean(0)), 99, axis=0) for part in parts]
        matrix[:, k] = 1 - np.mean(quantiles, 0) / largest
    np.testing.assert_allclose(result.matrices["irs"], matrix, atol=1e-9)
    assert result.scores["irs"] == pytest.approx(np.average(matrix.max(1), weights=largest))


def test_correlations_equal_numpy_and_scipy(table):
    codes, factors = table
    protocol = SupervisedProtocol(n_train=1000, n_test=1001)
    result = scores_of(codes, factors, "mcc_pearson", "mcc_spearman", protocol=protocol)
    test = split_table(len(codes), protocol, 0)[1].numpy()
    pearson = np.abs(np.corrcoef(codes[test].T, factors[test].T)[:4, 4:])
    spearman = np.abs(spearmanr(np.hstack([codes[test], factors[test]]))[0][:4, 4:])
    np.testing.assert_allclose(result.matrices["pearson"], pearson, atol=1e-9)
    np.testing.assert_allclose(result.matrices["spearman"], spearman, atol=1e-9)


def test_codes_in_units_of_any_size_have_the_same_scores(table):
    codes, factors = table
    names = ("beta_vae", "factor_vae", "mig", "sap", "sap_r2", "explicitness", "info_m", "info_e", "dci_es")
    protocol = SupervisedProtocol(train_votes=500, test_votes=300)
    one, other = (
        scores_of(z, factors, *names, protocol=protocol).scores for z in (codes, codes * [1e-3, 1, 40, 7] + 5)
    )
    assert one == pytest.approx(other, abs=5e-3)


@pytest.mark.gpu
def test_scores_on_a_gpu_equal_those_on_the_cpu(table):
    codes, factors = table
    names = ("beta_vae", "factor_vae", "mig", "sap", "sap_r2", "explicitness", "irs", "info_m", "dci_es")
    one, other = (scores_of(torch.tensor(codes, device=d), factors, *names).scores for d in ("cpu", "cuda"))
    assert one == pytest.approx(other, abs=5e-3)
