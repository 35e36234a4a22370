"""The ANOVA kernel: both forms against quadrature and each other, its null distribution, its power."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import MMD, InputError, mmd
from mmdprior.kernels import ANOVA, RBF, WAE_IMQ, Kernel, Sum
from mmdprior.kernels.embedding import embedding
from mmdprior.kernels.null_variance import null_variance
from mmdprior.priors import FromCallable, Gaussian, GaussianMixture, Product, Uniform
from mmdprior.regularizers.power import DEVIATIONS

PRIORS = {
    "gaussian": lambda: Gaussian(4),
    "moved": lambda: Gaussian(4, [0.0, 1.0, -2.0, 0.5], [1.0, 0.5, 2.0, 1.0]),
    "uniform": lambda: Uniform(4, [-1.0, 0.0, -2.0, -1.0], [1.0, 3.0, 2.0, 0.0]),
    "mixed": lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5), Gaussian(2)]),
}
DENSITIES = {
    "gaussian": [stats.norm()] * 4,
    "uniform": [stats.uniform(a, b - a) for a, b in ((-1, 1), (0, 3), (-2, 2), (-1, 0))],
}


def orders_by_quadrature(name, x, y, length):
    """Centre every one-dimensional kernel by Gauss-Legendre quadrature, and multiply out the orders."""

    def k(a, b):
        return np.exp(-0.5 * (a[:, None] - b) ** 2 / length**2)

    nodes, node_weights = np.polynomial.legendre.leggauss(200)
    centred = []
    for i, marginal in enumerate(DENSITIES[name]):
        low, high = marginal.ppf(1e-12), marginal.ppf(1 - 1e-12)
        t = (low + high) / 2 + nodes * (high - low) / 2
        weights = node_weights * (high - low) / 2 * marginal.pdf(t)
        mu_x, mu_y, c = k(x[:, i], t) @ weights, k(y[:, i], t) @ weights, weights @ k(t, t) @ weights
        centred.append(k(x[:, i], y[:, i]) - mu_x[:, None] - mu_y + c)
    return [
        sum(
            math.prod(centred[i] for i in chosen) for chosen in itertools.combinations(range(len(centred)), r)
        )
        for r in (1, 2, 3)
    ]


@pytest.mark.parametrize("name", DENSITIES)
def test_orders_equal_quadrature(name):
    prior = PRIORS[name]().double()
    x, y = prior.sample(7), prior.sample(5)
    expected = orders_by_quadrature(name, x.numpy(), y.numpy(), 0.8)
    parts = ANOVA(order=3, lengthscale=0.8).bind(prior).parts(x, y)
    np.testing.assert_allclose(parts, np.stack(expected), atol=2e-8)


@pytest.mark.parametrize("frequencies", [None, 1, 3])
@pytest.mark.parametrize("name", PRIORS)
def test_features_and_pairs_agree(name, frequencies):
    prior = PRIORS[name]().double()
    kernel = ANOVA(frequencies=frequencies, lengthscale=0.9).bind(prior)
    assert kernel._features is not None
    x, y = 1.3 * prior.sample(40), prior.sample(70)
    for unbiased in (True, False):
        pairs = Kernel.means_within(kernel, x, unbiased=unbiased)
        assert torch.allclose(kernel.means_within(x, unbiased=unbiased), pairs, atol=1e-7)
    assert torch.allclose(kernel.means_across(x, y), Kernel.means_across(kernel, x, y), atol=1e-7)


def test_both_gram_matrices_and_blocks_give_the_same_means(monkeypatch):
    prior = Gaussian(3)
    kernel = ANOVA(frequencies=2).bind(prior)
    few = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    many = few.repeat(4, 1) + 0.1
    for z in (few, many):
        expected = kernel.means_within(z, unbiased=True)
        (slope,) = torch.autograd.grad(expected.sum(), few)
        assert torch.allclose(expected, Kernel.means_within(kernel, z, unbiased=True), atol=1e-12)
        monkeypatch.setattr("mmdprior.kernels.spectrum.MAX_ENTRIES", 40)
        blocks = kernel.means_within(z, unbiased=True)
        monkeypatch.undo()
        assert torch.allclose(blocks, expected, atol=1e-13)
        assert torch.allclose(torch.autograd.grad(blocks.sum(), few)[0], slope, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_gradient(order):
    kernel = ANOVA(order=order, frequencies=2).bind(Uniform(3))
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: mmd(a, b, kernel), (x, y))
    assert torch.autograd.gradcheck(kernel, (x, y))


@pytest.mark.parametrize("name", PRIORS)
def test_means_over_the_prior_are_zero(name, generator):
    prior = PRIORS[name]()
    assert prior.independent
    kernel = ANOVA().bind(prior)
    across = [
        kernel.means_across(prior.sample(256, generator), prior.sample(256, generator)) for _ in range(40)
    ]
    values = torch.stack(across)
    assert (values.mean(0).abs() < 4 * values.std(0) / 40**0.5 + 1e-6).all()
    zero = embedding(kernel, prior)
    assert zero is not None
    assert not zero.mean(prior.sample(3)).any()


def test_null_variance_equals_the_formula(generator):
    prior, n = Gaussian(8), 64
    penalty = MMD(prior, ANOVA())
    values = torch.stack([penalty(torch.randn(n, 8, generator=generator)) for _ in range(300)])
    expected = math.sqrt(2 / (n * (n - 1)) * null_variance(penalty.kernel, prior))
    assert abs(values.mean()) < 3 * values.std() / 300**0.5
    assert abs(values.std() / expected - 1) < 0.17
    assert torch.allclose(penalty.terms["standardised"], values[-1] / expected, rtol=1e-4)


def test_default_weights_equal_the_formula():
    """h = .0734 for l = 1 and N(0, 1); w_1^2 = e_2 / (9 e_1)."""
    d, h = 10, 0.0734
    w1, w2 = ANOVA().bind(Gaussian(d)).part_weights
    assert w2 == 1
    assert w1 == pytest.approx(math.sqrt(d * (d - 1) / 2 * h**2 / (9 * d * h)), rel=1e-3)


def signals(prior, kernel, batches, n=256):
    """Return the mean increase of the penalty by each deviation, in null standard deviations by formula."""
    penalty, increases = MMD(prior, kernel), {name: [] for name in DEVIATIONS}
    for i in range(batches):
        z = prior.sample(n, torch.Generator().manual_seed(i))
        penalty(z)
        null = penalty.terms["standardised"]
        for name, impose in DEVIATIONS.items():
            penalty(impose(z))
            increases[name].append(penalty.terms["standardised"] - null)
    return {name: float(torch.stack(values).mean()) for name, values in increases.items()}


@pytest.mark.parametrize(("d", "least"), [(10, (20, 8)), (32, (7, 2.5)), (128, (1.7, 0.6))])
def test_detects_one_dependent_pair(d, least):
    by_pairs = signals(Gaussian(d), ANOVA(), 20)
    assert by_pairs["one dimension duplicated"] > least[0]
    assert by_pairs["one uncorrelated dependent pair"] > least[1]
    assert by_pairs["one variance halved"] > 0.3
    assert by_pairs["half-scale code"] > 50
    joint = signals(Gaussian(d), RBF(), 20)
    assert joint["one dimension duplicated"] < least[0] / 3
    assert joint["half-scale code"] > 50


def test_few_frequencies_detect_dependence_at_d_128():
    by_pairs = signals(Gaussian(128), ANOVA(frequencies=2), 20)
    assert by_pairs["one dimension duplicated"] > 1.7
    assert by_pairs["one uncorrelated dependent pair"] > 0.45
    assert by_pairs["half-scale code"] > 50


def test_dependent_prior_uses_two_samples():
    means = [[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    prior = GaussianMixture(means, 0.4)
    penalty = MMD(prior, ANOVA(lengthscale=0.5))
    assert "Unbiased" in penalty.describe()
    null = torch.stack([penalty(prior.sample(128)) for _ in range(40)])
    assert abs(null.mean()) < 4 * null.std() / 40**0.5
    shuffled = prior.sample(128)
    shuffled[:, 1] = shuffled[torch.randperm(128), 1]
    assert penalty(shuffled) > 6 * null.std()


def test_prior_without_marginals_is_centred_by_its_moments_or_rejected():
    with pytest.raises(InputError, match="no closed-form moments"):
        ANOVA().bind(FromCallable(torch.randn, 3))
    repeated = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert "FromDistribution" in MMD(repeated, ANOVA()).describe()


def test_unbound_kernel_warns_that_it_is_centred_by_a_standard_normal():
    x = torch.randn(6, 3)
    with pytest.warns(UserWarning, match="centred by N"):
        unbound = ANOVA()(x, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(unbound, ANOVA().bind(Gaussian(3))(x, x))


def test_every_order_is_a_term_of_the_penalty():
    penalty = MMD(Gaussian(4), Sum([ANOVA(), WAE_IMQ()], [2.0, 0.5]))
    value = penalty(torch.randn(32, 4))
    terms, weights = penalty.terms, penalty.kernel.part_weights
    names = ("anova_0_order_1", "anova_0_order_2", "wae_imq_1")
    total = sum(w * terms[name] for w, name in zip(weights, names, strict=True))
    assert torch.allclose(total, value, atol=1e-6)


def test_new_weights_of_a_bound_kernel_take_effect():
    kernel, x = ANOVA().bind(Uniform(3)), torch.randn(5, 3)
    before = kernel(x, x)
    kernel.part_weights = tuple(2 * weight for weight in kernel.part_weights)
    assert torch.allclose(kernel(x, x), 2 * before)


def test_pickles_when_bound():
    kernel, x = ANOVA().bind(Uniform(3)), torch.randn(5, 3)
    assert torch.equal(pickle.loads(pickle.dumps(kernel))(x, x), kernel(x, x))
