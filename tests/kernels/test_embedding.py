"""Mean embeddings and energies against Monte Carlo in float64.

``MMDPRIOR_DRAWS=1000000 pytest tests/kernels/test_embedding.py`` draws more; the tolerance is four standard
errors.
"""

import itertools
import math
import os

import pytest
import torch
from scipy import integrate

from mmdprior import MMD
from mmdprior.kernels import IMQ, RBF, WAE_IMQ, RationalQuadratic, Sliced, Sum
from mmdprior.kernels.embedding import embedding
from mmdprior.priors import FullGaussian, Gaussian, GaussianMixture, Laplace, Product, Samples, Uniform

DRAWS = int(os.environ.get("MMDPRIOR_DRAWS", "100000"))
MEANS = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]
PRIORS = {
    "isotropic": lambda: Gaussian(3),
    "diagonal": lambda: Gaussian(3, [0.0, 1.0, -1.0], [1.0, 0.5, 2.0]),
    "mixture": lambda: GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75]),
    "alike": lambda: GaussianMixture(MEANS, 0.5),
    "box": lambda: Uniform(3, [-1.0, 0.0, 2.0], [1.0, 0.5, 5.0]),
    "blocks": lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5), Gaussian(2)]),
    "full": lambda: FullGaussian([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]], [0.0, 1.0, 0.0]),
    "laplace": lambda: Laplace(3),
    "placed": lambda: Product([Gaussian(2, scale=2.0), Uniform(1)], dims=[[0, 2], [1]]),
    "samples": lambda: Samples(torch.randn(50, 3, generator=torch.Generator().manual_seed(1))),
}
KERNELS = {
    "rbf": lambda: RBF(1.3),
    "scales": lambda: RBF(factors=[0.5, 2.0]),
    "imq": lambda: IMQ(2.5),
    "wae": WAE_IMQ,
    "rational_quadratic": lambda: RationalQuadratic(1.0, 0.7),
    "sliced": Sliced,
    "sum": lambda: Sum([RBF(0.5), IMQ()], [0.3, 2.0]),
}
ONE_SCALE = ("rbf", "scales")
NOT_CLOSED = {
    (prior, kernel)
    for prior in ("box", "blocks", "laplace", "placed")
    for kernel in KERNELS
    if kernel not in ONE_SCALE
}
"""Pairs of a prior that is not Gaussian and a kernel of many scales."""


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("prior", "kernel"), sorted({*itertools.product(PRIORS, KERNELS)} - NOT_CLOSED))
def test_equals_monte_carlo(prior, kernel):
    p = PRIORS[prior]().double()
    k = KERNELS[kernel]().bind(p)
    closed = embedding(k, p)
    weights = torch.tensor(k.part_weights, dtype=torch.float64)
    n = DRAWS
    y, other = p.sample(n, seeded(1)), p.sample(n, seeded(2))
    x = p.sample(3, seeded(3)) + 0.5
    drawn = torch.cat([k(x, part) for part in y.split(50_000)], 1)
    error = drawn.mean(1) - weights @ closed.mean(x)
    assert (error.abs() < 4 * drawn.std(1) / n**0.5 + 1e-9).all()
    origin = torch.zeros(1, p.dim, dtype=torch.float64)
    pairs = torch.cat([k(part, origin)[:, 0] for part in (y - other).split(50_000)])
    assert abs(pairs.mean() - weights @ closed.energies) < 4 * pairs.std() / n**0.5 + 1e-9


def test_closed_forms_of_the_standard_normal():
    """mu = (1+1/l^2)^(-d/2) exp(-|x|^2 / (2(1+l^2))), c = (1+2/l^2)^(-d/2)."""
    d, l2 = 5, 2.0
    closed = embedding(RBF(l2**0.5), Gaussian(d).double())
    x = torch.randn(4, d, dtype=torch.float64)
    expected = (1 + 1 / l2) ** (-d / 2) * torch.exp(-x.square().sum(1) / (2 * (1 + l2)))
    assert torch.allclose(closed.mean(x)[0], expected, rtol=1e-13)
    assert float(closed.energies) == pytest.approx((1 + 2 / l2) ** (-d / 2), rel=1e-13)


@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_energy_of_imq_against_the_exponential_integral(d, scale):
    """c = (1/a) e^(1/a) E_{d/2}(1/a), a = 4 s^2 / C."""
    c = scale * 2 * d
    a = 4 / c
    exact = integrate.quad(lambda u: math.exp(-u) * (1 + a * u) ** (-d / 2), 0, math.inf, epsabs=1e-13)[0]
    closed = embedding(IMQ(c), Gaussian(d).double())
    assert float(closed.energies) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(("prior", "kernel"), sorted(NOT_CLOSED))
def test_is_none_for_many_scales_of_other_priors(prior, kernel):
    p = PRIORS[prior]()
    assert embedding(KERNELS[kernel]().bind(p), p) is None


@pytest.mark.parametrize("name", PRIORS)
def test_gradient_of_the_known_prior(name):
    prior = PRIORS[name]().double()
    z = prior.sample(5, seeded(0)).requires_grad_()
    assert torch.autograd.gradcheck(MMD(prior, RBF(1.2), "known_prior"), z)


def test_many_codes_and_few_codes_give_the_same():
    """Few codes are evaluated at all scales at once, many scale by scale."""
    closed = embedding(WAE_IMQ().bind(p := PRIORS["alike"]().double()), p)
    x = torch.randn(300_000, 3, dtype=torch.float64, generator=seeded(0)).requires_grad_()
    few = x[:10].detach().requires_grad_()
    many = closed.mean(x)[:, :10]
    assert torch.allclose(many, closed.mean(few), rtol=1e-12)
    many.sum().backward()
    closed.mean(few).sum().backward()
    assert torch.allclose(x.grad[:10], few.grad, rtol=1e-10)
