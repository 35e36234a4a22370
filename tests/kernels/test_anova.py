"""The ANOVA kernel: both forms against loops and quadrature, its null, what it sees."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from mmdprior import MMD, InputError, mmd
from mmdprior.kernels import ANOVA, RBF, WAE_IMQ, Kernel, Sum
from mmdprior.kernels.embedding import embedding
from mmdprior.kernels.null_variance import null_variance
from mmdprior.priors import FromCallable, Gaussian, GaussianMixture, Product, Uniform
from mmdprior.regularizers.power import DEVIATIONS, detection

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


def brute(name, x, y, length):
    """Centre every one-dimensional kernel by numerical integration; multiply out the orders."""

    def k(a, b):
        return np.exp(-0.5 * (a - b) ** 2 / length**2)

    terms = []
    for i, marginal in enumerate(DENSITIES[name]):
        low, high = marginal.ppf(1e-12), marginal.ppf(1 - 1e-12)

        def mu(a, marginal=marginal, low=low, high=high):
            return integrate.quad(lambda t: k(a, t) * marginal.pdf(t), low, high, epsabs=1e-11)[0]

        c = integrate.quad(lambda t, m=marginal, f=mu: f(t) * m.pdf(t), low, high, epsabs=1e-10)[0]
        own = [[k(a, b) - mu(a) - mu(b) + c for b in y[:, i].tolist()] for a in x[:, i].tolist()]
        terms.append(np.array(own))
    return [
        sum(math.prod(terms[i] for i in chosen) for chosen in itertools.combinations(range(len(terms)), r))
        for r in (1, 2, 3)
    ]


@pytest.mark.parametrize("name", DENSITIES)
def test_orders_equal_quadrature(name):
    prior = PRIORS[name]()
    x, y = prior.double().sample(2), prior.sample(1)
    expected = brute(name, x.numpy(), y.numpy(), 0.8)
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


def test_either_gram_matrix_and_blocks_give_the_same(monkeypatch):
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
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: mmd(a, b, kernel), (x, y))
    assert torch.autograd.gradcheck(kernel, (x, y))


@pytest.mark.parametrize("name", PRIORS)
def test_averages_over_the_prior_vanish(name, generator):
    prior = PRIORS[name]()
    assert prior.independent
    kernel = ANOVA().bind(prior)
    across = [
        kernel.means_across(prior.sample(256, generator), prior.sample(256, generator)) for _ in range(60)
    ]
    values = torch.stack(across)
    assert (values.mean(0).abs() < 4 * values.std(0) / 60**0.5 + 1e-6).all()
    vanishing = embedding(kernel, prior)
    assert vanishing is not None
    assert not vanishing.mean(prior.sample(3)).any()


def test_null_spread_is_that_of_the_formula(generator):
    prior, n = Gaussian(8), 64
    penalty = MMD(prior, ANOVA())
    values = torch.stack([penalty(torch.randn(n, 8, generator=generator)) for _ in range(300)])
    expected = math.sqrt(2 / (n * (n - 1)) * null_variance(penalty.kernel, prior))
    assert abs(values.mean()) < 3 * values.std() / 300**0.5
    assert abs(values.std() / expected - 1) < 0.17
    assert torch.allclose(penalty.terms["standardised"], values[-1] / expected, rtol=1e-4)


def test_default_weights_are_those_of_the_formula():
    """h = .0734 for l = 1 and N(0, 1); w_1^2 = e_2 / (9 e_1)."""
    d, h = 10, 0.0734
    w1, w2 = ANOVA().bind(Gaussian(d)).part_weights
    assert w2 == 1
    assert w1 == pytest.approx(math.sqrt(d * (d - 1) / 2 * h**2 / (9 * d * h)), rel=1e-3)


def signals(prior, kernel, batches, n=256):
    """Mean rise of the penalty by each deviation, in null standard deviations; these from the formula."""
    penalty, seen = MMD(prior, kernel), {name: [] for name in DEVIATIONS}
    for i in range(batches):
        z = prior.sample(n, torch.Generator().manual_seed(i))
        penalty(z)
        null = penalty.terms["standardised"]
        for name, impose in DEVIATIONS.items():
            penalty(impose(z))
            seen[name].append(penalty.terms["standardised"] - null)
    return {name: float(torch.stack(values).mean()) for name, values in seen.items()}


@pytest.mark.parametrize(("d", "least"), [(10, (20, 8)), (32, (7, 2.5)), (128, (1.7, 0.6))])
def test_sees_one_dependent_pair(d, least):
    seen = signals(Gaussian(d), ANOVA(), 20)
    assert seen["one dimension duplicated"] > least[0]
    assert seen["one uncorrelated dependent pair"] > least[1]
    assert seen["one variance halved"] > 0.3
    assert seen["half-scale code"] > 50
    joint = signals(Gaussian(d), RBF(), 20)
    assert joint["one dimension duplicated"] < least[0] / 3
    assert joint["half-scale code"] > 50


def test_few_frequencies_see_dependence_at_d_128():
    seen = signals(Gaussian(128), ANOVA(frequencies=2), 20)
    assert seen["one dimension duplicated"] > 1.7
    assert seen["one uncorrelated dependent pair"] > 0.45
    assert seen["half-scale code"] > 50


def test_detection_simulates_what_the_formula_says():
    simulated = detection(MMD(Gaussian(4), ANOVA()), repeats=60, n=48).signals
    by_formula = signals(Gaussian(4), ANOVA(), 60, n=48)
    for name, value in simulated.items():
        assert abs(value - by_formula[name]) < 0.25 * abs(by_formula[name]) + 0.5


def test_serves_dependent_priors_by_two_samples():
    means = [[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    prior = GaussianMixture(means, 0.4)
    penalty = MMD(prior, ANOVA(lengthscale=0.5))
    assert "Unbiased" in penalty.describe()
    own = torch.stack([penalty(prior.sample(128)) for _ in range(40)])
    assert abs(own.mean()) < 4 * own.std() / 40**0.5
    shuffled = prior.sample(128)
    shuffled[:, 1] = shuffled[torch.randperm(128), 1]
    assert penalty(shuffled) > 6 * own.std()


def test_a_prior_of_no_known_marginals_is_centred_by_its_moments_or_refused():
    with pytest.raises(InputError, match="no closed-form moments"):
        ANOVA().bind(FromCallable(torch.randn, 3))
    repeated = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert "FromDistribution" in MMD(repeated, ANOVA()).describe()


def test_unbound_says_that_it_is_centred_by_a_standard_normal():
    x = torch.randn(6, 3)
    with pytest.warns(UserWarning, match="centred by N"):
        unbound = ANOVA()(x, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(unbound, ANOVA().bind(Gaussian(3))(x, x))


def test_terms_are_logged_apart():
    penalty = MMD(Gaussian(4), Sum([ANOVA(), WAE_IMQ()], [2.0, 0.5]))
    value = penalty(torch.randn(32, 4))
    terms, weights = penalty.terms, penalty.kernel.part_weights
    names = ("anova_0_order_1", "anova_0_order_2", "wae_imq_1")
    total = sum(w * terms[name] for w, name in zip(weights, names, strict=True))
    assert torch.allclose(total, value, atol=1e-6)


def test_pickles():
    kernel, x = ANOVA().bind(Uniform(3)), torch.randn(5, 3)
    assert torch.equal(pickle.loads(pickle.dumps(kernel))(x, x), kernel(x, x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ANOVA(order=4), "order: 4"),
        (lambda: ANOVA(lengthscale=0.0), "lengthscale: 0.0"),
        (lambda: ANOVA(weights=[1.0]), "weights"),
        (lambda: ANOVA(weights=[1.0, -1.0]), "weights"),
        (lambda: ANOVA(frequencies=0), "frequencies: 0"),
        (lambda: ANOVA(lengthscale=1e-5).bind(Gaussian(2)), "lengthscale: 1e-05 received; too short"),
        (lambda: ANOVA().bind(Gaussian(2))(torch.zeros(3, 4), torch.zeros(3, 4)), "codes: 4 dimensions"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
