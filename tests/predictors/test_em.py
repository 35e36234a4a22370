"""Mixtures of experts: the mirror-descent identity, the number of iterations, and each M-step."""

from itertools import pairwise
from statistics import median

import pytest
import torch
from benches.mixtures.symmetric import SymmetricMixture, draw
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional

from mmdprior.predictors import Mixture, expectation_maximisation
from mmdprior.predictors.em import m_step
from mmdprior.predictors.newton import softmax_regression, weighted_grams


def derivative(function, mixture):
    """Return the gradient in all coefficients, by autograd."""
    theta = mixture.theta.clone().requires_grad_()
    value = function(SymmetricMixture.of(theta, mixture.family)).sum()
    return torch.autograd.grad(value, theta)[0]


@pytest.mark.parametrize("family", ["linear", "logistic"])
@pytest.mark.parametrize("snr", [0.5, 2.0, 4.0])
def test_em_is_mirror_descent_with_unit_step(snr, family):
    """grad A(theta+) = grad A(theta) - grad L(theta)."""
    x, y, _, mixture = draw(family, range(2, 5), n=2000, dim=10, snr=snr)
    for _ in range(3):
        after = mixture.em_step(x, y)
        left = derivative(lambda m: m.mirror(x), after)
        right = derivative(lambda m: m.mirror(x) - m.loss(x, y), mixture)
        assert float((left - right).abs().max()) < 1e-10
        assert not torch.allclose(after.theta, mixture.theta, atol=1e-4)
        mixture = after


@pytest.mark.parametrize("family", ["linear", "logistic"])
def test_the_symmetric_loss_is_the_negative_log_likelihood(family):
    x, y, _, mixture = draw(family, range(2), n=50, dim=4, snr=2.0)
    first = (x @ mixture.w[..., None]).squeeze(2).sigmoid()
    at = (x @ mixture.b[..., None]).squeeze(2)
    density = torch.zeros_like(y)
    for sign, weight in ((1, first), (-1, 1 - first)):
        linear = torch.exp(-((y - sign * at).square()) / 2)
        density += weight * (linear if family == "linear" else (y * sign * at).sigmoid())
    torch.testing.assert_close(mixture.loss(x, y), -density.log().mean(1))
    torch.testing.assert_close(mixture.gradient(x, y), derivative(lambda m: m.loss(x, y), mixture))


@pytest.mark.parametrize("family", ["linear", "logistic"])
def test_the_missing_information_is_a_difference_of_hessians(family):
    x, y, _, mixture = draw(family, range(2), n=50, dim=3, snr=2.0)
    complete, missing = mixture.missing_information(x, y)
    for q in range(2):

        def scalar(theta, name, q=q):
            m = SymmetricMixture.of(theta[None], family)
            return m.mirror(x[q : q + 1])[0] if name == "A" else m.loss(x[q : q + 1], y[q : q + 1])[0]

        theta = mixture.theta[q]
        mirror = torch.autograd.functional.hessian(lambda t: scalar(t, "A"), theta)
        loss = torch.autograd.functional.hessian(lambda t: scalar(t, "L"), theta)
        torch.testing.assert_close(complete[q], mirror)
        torch.testing.assert_close(missing[q], mirror - loss)
        largest = eigh(missing[q].numpy(), complete[q].numpy(), eigvals_only=True)[-1]
        assert float(mixture.rate(x, y)[q]) == pytest.approx(largest)


@pytest.mark.parametrize("family", ["linear", "logistic"])
@pytest.mark.parametrize("snr", [0.5, 2.0, 8.0])
def test_em_converges_at_the_rate_of_the_missing_information(snr, family):
    x, y, _, start = draw(family, range(2), n=1000, dim=2, snr=snr)
    fixed = start.fixed_point(x, y, em_steps=15)
    assert float(fixed.gradient(x, y).abs().max()) < 1e-9
    predicted, measured = fixed.rate(x, y), fixed.measured_rate(x, y, iterations=15)
    torch.testing.assert_close(measured, predicted, rtol=0.1, atol=0)
    assert bool((predicted < 1).all())


@pytest.mark.parametrize(("scale", "stated"), [(1.0, 14), (2.0, 7), (4.0, 5)])
@pytest.mark.parametrize("newton_steps", [1, 50])
def test_em_needs_the_stated_number_of_iterations(scale, stated, newton_steps):
    """Median iterations until the loss is within 1e-6 of the fixed point's, here within a factor 1.5."""
    x, y, _, mixture = draw("linear", range(6), n=2000, dim=10, snr=scale)
    goal = mixture.fixed_point(x, y, em_steps=10).loss(x, y) + 1e-6
    counts = torch.zeros(6)
    while bool((above := mixture.loss(x, y) > goal).any()):
        counts += above
        mixture = mixture.em_step(x, y, newton_steps)
    assert stated / 1.5 <= median(counts.tolist()) <= 1.5 * stated


def zeros(x, experts, family="linear"):
    """Return a mixture of one target without any effect of the inputs."""
    zero = torch.zeros(len(x), 1, experts, x.shape[2], dtype=x.dtype)
    return Mixture(zero, zero, torch.ones_like(zero[..., 0]) if family == "linear" else None)


def mixture_data(n=3000, dim=4, experts=3, problems=2, family="linear"):
    """Return inputs, targets and the mixture they are drawn from, for problems of one target each."""
    x = torch.randn(problems, n, dim, dtype=torch.float64)
    x = torch.cat([x, torch.ones_like(x[..., :1])], 2)
    gate = 3 * torch.randn(problems, 1, experts, dim + 1, dtype=torch.float64)
    gate[:, :, -1] = 0
    b = 2 * torch.randn(problems, 1, experts, dim + 1, dtype=torch.float64)
    variance = torch.full((problems, 1, experts), 0.25, dtype=torch.float64) if family == "linear" else None
    truth = Mixture(gate, b, variance)
    if family == "multinomial":
        b = torch.stack([b, torch.randn_like(b), torch.zeros_like(b)], 3)
        truth = Mixture(gate, b, None)
        classes = torch.distributions.Categorical(probs=truth.mean(x)[:, :, 0]).sample()
        return x, classes.double()[..., None], truth
    chosen = torch.distributions.Categorical(logits=truth.log_gate(x)[:, :, 0]).sample()
    at = (x @ b[:, 0].mT).gather(2, chosen[..., None])
    y = at + 0.5 * torch.randn_like(at) if family == "linear" else torch.bernoulli((2 * at).sigmoid())
    return x, y, truth


@pytest.mark.parametrize("family", ["linear", "logistic", "multinomial"])
@pytest.mark.parametrize("newton_steps", [1, 20])
def test_the_likelihood_increases_at_every_iteration(family, newton_steps):
    x, y, truth = mixture_data(n=300, family=family)
    noisy = truth.experts + 0.5 * torch.randn_like(truth.experts)
    if family == "multinomial":
        noisy[:, :, :, -1] = 0
    start = Mixture(0.5 * truth.gate, noisy, truth.variance)
    steps = expectation_maximisation(x, y, start, ridge=0.0, newton_steps=newton_steps)
    path = [start.log_likelihood(x, y).sum(1)]
    path += [next(steps).log_likelihood(x, y).sum(1) for _ in range(15)]
    assert all(bool((after >= before - 1e-8).all()) for before, after in pairwise(path))
    assert bool((path[-1] >= truth.log_likelihood(x, y).sum(1)).all())


def test_em_recovers_known_linear_experts():
    x, y, truth = mixture_data()
    steps = expectation_maximisation(x, y, truth, newton_steps=5)
    for _ in range(30):
        mixture = next(steps)
    torch.testing.assert_close(mixture.experts, truth.experts, atol=0.15, rtol=0)
    torch.testing.assert_close(mixture.variance, truth.variance, atol=0.04, rtol=0)
    explained = 1 - (y - mixture.mean(x)).square().mean() / y.var()
    best = 1 - (y - truth.mean(x)).square().mean() / y.var()
    assert float(explained) >= float(best) - 0.002


def test_experts_are_sklearns_weighted_regressions():
    x, y, _ = mixture_data(n=400, problems=1)
    responsibilities = torch.rand(1, 400, 1, 2, dtype=torch.float64)
    fitted = m_step(x, y, responsibilities, zeros(x, 2), ridge=0.01)
    for k in range(2):
        weight = responsibilities[0, :, 0, k].numpy()
        oracle = Ridge(alpha=4.0, fit_intercept=False).fit(x[0], y[0, :, 0], sample_weight=weight)
        torch.testing.assert_close(fitted.experts[0, 0, k], torch.from_numpy(oracle.coef_))
    labels = (y > 0).double()
    fitted = m_step(x, labels, responsibilities, zeros(x, 2, "logistic"), ridge=0.01, newton_steps=30)
    for k in range(2):
        weight = responsibilities[0, :, 0, k].numpy()
        oracle = LogisticRegression(C=1 / 4.0, fit_intercept=False, tol=1e-10, max_iter=1000)
        oracle.fit(x[0], labels[0, :, 0], sample_weight=weight)
        torch.testing.assert_close(
            fitted.experts[0, 0, k], torch.from_numpy(oracle.coef_[0]), atol=1e-4, rtol=1e-4
        )


def test_the_gate_is_sklearns_softmax_regression():
    x = torch.randn(2, 500, 3, dtype=torch.float64)
    classes = (x @ torch.randn(2, 3, 3, dtype=torch.float64) + torch.randn(2, 500, 3)).argmax(2)
    shares = functional.one_hot(classes, 3).double()[:, :, None]
    start = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    fitted = softmax_regression(x, shares, start, torch.ones(1, 3, dtype=torch.bool), 1e-9, 50)
    for p in range(2):
        oracle = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-10, max_iter=2000).fit(
            x[p], classes[p]
        )
        expected = torch.from_numpy(oracle.coef_ - oracle.coef_[-1:])
        torch.testing.assert_close(fitted[p, 0], expected, atol=2e-3, rtol=1e-3)


def test_a_masked_input_has_no_coefficient():
    x, y, _ = mixture_data(n=300)
    mask = torch.tensor([[True, False, True, True, True]])
    responsibilities = torch.rand(2, 300, 1, 3, dtype=torch.float64)
    fitted = m_step(x, y, responsibilities, zeros(x, 3), mask=mask, newton_steps=3)
    assert not fitted.gate[..., 1].any()
    assert not fitted.experts[..., 1].any()
    rest = x[..., mask[0]]
    without = m_step(rest, y, responsibilities, zeros(rest, 3), newton_steps=3)
    torch.testing.assert_close(fitted.experts[..., mask[0]], without.experts)
    torch.testing.assert_close(fitted.gate[..., mask[0]], without.gate)


@pytest.mark.parametrize("columns", [1, 5, 40])
def test_weighted_grams_in_blocks(monkeypatch, columns):
    monkeypatch.setattr("mmdprior.predictors.newton._ENTRIES", 100)
    x, weights = torch.randn(2, 37, 4, dtype=torch.float64), torch.randn(2, 37, columns, dtype=torch.float64)
    expected = torch.einsum("pnw,pni,pnj->pwij", weights, x, x)
    torch.testing.assert_close(weighted_grams(x, weights), expected)
