"""Mean embeddings, energies and null spreads against Monte Carlo in float64, and the estimators on them.

``MMDPRIOR_DRAWS=1000000 pytest tests/test_embedding.py`` draws more, within the same four standard errors.
"""

import itertools
import math
import os

import pytest
import torch

from mmdprior import MMD, InputError, mmd
from mmdprior.kernels import ANOVA, IMQ, RBF, WAE_IMQ, Energy, Laplacian, RationalQuadratic, Sliced, Sum
from mmdprior.kernels.embedding import embedding
from mmdprior.kernels.null_variance import null_variance
from mmdprior.priors import Gaussian, GaussianMixture, Product, Samples, Uniform
from mmdprior.regularizers import Block, KnownPrior

DRAWS = int(os.environ.get("MMDPRIOR_DRAWS", "200000"))
MEANS = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]
PRIORS = {
    "isotropic": lambda: Gaussian(3),
    "diagonal": lambda: Gaussian(3, [0.0, 1.0, -1.0], [1.0, 0.5, 2.0]),
    "mixture": lambda: GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75]),
    "alike": lambda: GaussianMixture(MEANS, 0.5),
    "box": lambda: Uniform(3, [-1.0, 0.0, 2.0], [1.0, 0.5, 5.0]),
    "blocks": lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5), Gaussian(2)]),
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
UNKNOWN = {("box", k) for k in KERNELS if k not in ("rbf", "scales")}
UNKNOWN |= {("blocks", k) for k in KERNELS if k not in ("rbf", "scales")}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("prior", "kernel"), sorted({*itertools.product(PRIORS, KERNELS)} - UNKNOWN))
def test_equals_monte_carlo(prior, kernel):
    p = PRIORS[prior]().double()
    k = KERNELS[kernel]().bind(p)
    found = embedding(k, p)
    weights = torch.tensor(k.part_weights, dtype=torch.float64)
    n = DRAWS
    y, other = p.sample(n, seeded(1)), p.sample(n, seeded(2))
    x = p.sample(3, seeded(3)) + 0.5
    drawn = torch.cat([k(x, part) for part in y.split(50_000)], 1)
    error = drawn.mean(1) - weights @ found.mean(x)
    assert (error.abs() < 4 * drawn.std(1) / n**0.5 + 1e-9).all()
    origin = torch.zeros(1, p.dim, dtype=torch.float64)
    pairs = torch.cat([k(part, origin)[:, 0] for part in (y - other).split(50_000)])
    assert abs(pairs.mean() - weights @ found.energies) < 4 * pairs.std() / n**0.5 + 1e-9


def test_closed_forms_of_the_standard_normal():
    """mu = (1+1/l^2)^(-d/2) exp(-|x|^2 / (2(1+l^2))), c = (1+2/l^2)^(-d/2)."""
    d, l2 = 5, 2.0
    found = embedding(RBF(l2**0.5), Gaussian(d).double())
    x = torch.randn(4, d, dtype=torch.float64)
    expected = (1 + 1 / l2) ** (-d / 2) * torch.exp(-x.square().sum(1) / (2 * (1 + l2)))
    assert torch.allclose(found.mean(x)[0], expected, rtol=1e-13)
    assert float(found.energies) == pytest.approx((1 + 2 / l2) ** (-d / 2), rel=1e-13)


@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_energy_of_imq_against_the_exponential_integral(d, scale):
    """c = (1/a) e^(1/a) E_{d/2}(1/a), a = 4 s^2 / C."""
    from scipy import integrate

    c = scale * 2 * d
    a = 4 / c
    exact = integrate.quad(lambda u: math.exp(-u) * (1 + a * u) ** (-d / 2), 0, math.inf, epsabs=1e-13)[0]
    found = embedding(IMQ(c), Gaussian(d).double())
    assert float(found.energies) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "estimator"), [("isotropic", "auto"), ("alike", "unbiased"), ("box", Block(16))]
)
def test_null_spread(name, estimator, generator):
    prior = PRIORS[name]()
    penalty = MMD(prior, RBF(1.5), estimator)
    values = torch.stack([penalty(prior.sample(64, generator)) for _ in range(200)])
    assert abs(values.mean()) < 4 * values.std() / 200**0.5
    expected = math.sqrt(null_variance(penalty.kernel, prior) * penalty.estimator.variance_factor(64, 64))
    assert abs(values.std() / expected - 1) < 0.25


def test_biased_estimate_is_standardised_without_its_bias(generator):
    penalty = MMD(Gaussian(6), RBF(), "biased")
    values = []
    for _ in range(100):
        penalty(torch.randn(32, 6, generator=generator))
        values.append(penalty.terms["standardised"])
    assert abs(torch.stack(values).mean()) < 0.4
    assert 0.75 < torch.stack(values).std() < 1.3


@pytest.mark.parametrize(
    ("prior", "kernel"),
    [
        (Gaussian(3), Laplacian()),
        (Gaussian(3), Energy()),
        (Gaussian(3), RBF("median_batch")),
        (Uniform(3), WAE_IMQ()),
        (GaussianMixture(MEANS, 0.5), ANOVA()),
        (Gaussian(3), Sliced(directions=8)),
    ],
)
def test_unknown_pairs_fall_back_to_draws(prior, kernel):
    assert "Unbiased" in MMD(prior, kernel).describe()
    assert torch.isfinite(MMD(prior, kernel)(torch.randn(16, 3)))
    with pytest.raises(InputError, match="no closed mean embedding"):
        MMD(prior, kernel, "known_prior")


def test_known_prior_agrees_with_many_draws(generator):
    prior, z = Gaussian(4), 0.7 * torch.randn(200, 4, generator=generator)
    known = MMD(prior, WAE_IMQ())
    assert isinstance(known.estimator, KnownPrior)
    drawn = torch.stack([mmd(z, prior.sample(2000, generator), known.kernel) for _ in range(20)])
    assert abs(known(z) - drawn.mean()) < 4 * drawn.std() / 20**0.5


@pytest.mark.parametrize("name", PRIORS)
def test_gradient_of_the_known_prior(name):
    prior = PRIORS[name]().double()
    z = prior.sample(5, seeded(0)).requires_grad_()
    assert torch.autograd.gradcheck(MMD(prior, RBF(1.2)), z)


def test_block_estimate_is_the_mean_of_its_blocks():
    z, y = torch.randn(35, 3, dtype=torch.float64), 1 + torch.randn(40, 3, dtype=torch.float64)
    expected = torch.stack([mmd(z[i : i + 16], y[i : i + 16], RBF()) for i in (0, 16)]).mean()
    assert abs(mmd(z, y, RBF(), Block(16)) - expected) < 1e-14


def test_queue_enlarges_the_sample_and_keeps_the_gradient(generator):
    penalty = MMD(Gaussian(3), RBF(), queue=100)
    first, second = torch.randn(2, 60, 3, generator=generator)
    penalty(first)
    z = second.clone().requires_grad_()
    value = penalty(z)
    z.grad = torch.autograd.grad(value, z)[0]
    assert torch.allclose(value, MMD(Gaussian(3), RBF())(torch.cat([second, first])), atol=1e-6)
    both = torch.cat([second, first]).requires_grad_()
    (whole,) = torch.autograd.grad(MMD(Gaussian(3), RBF())(both), both)
    assert torch.allclose(z.grad, whole[:60] * 2, atol=1e-6)
    restored = MMD(Gaussian(3), RBF(), queue=100)
    restored.load_state_dict(penalty.state_dict())
    assert torch.equal(restored(z.detach()), penalty(z.detach()))
    penalty.eval()
    assert torch.equal(penalty(first), penalty(first))


def test_users_own_estimator():
    def linear_time(z, y, kernel):
        return kernel(z[::2], z[1::2]).diagonal().mean() - kernel(z, y).diagonal().mean()

    assert MMD(Gaussian(3), RBF(), linear_time)(torch.randn(8, 3)).shape == ()
    with pytest.raises(InputError, match="estimator: .* returned; return a 0-dim tensor"):
        MMD(Gaussian(3), RBF(), lambda z, y, kernel: kernel(z, y))(torch.randn(8, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMD(Gaussian(3), estimator="best"), "estimator: 'best'"),
        (lambda: Block(1), "size: 1"),
        (lambda: MMD(Gaussian(3), queue=-1), "queue: -1"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [RBF(), WAE_IMQ(), ANOVA(), ANOVA(frequencies=2), ANOVA(order=3)])
def test_every_form_on_cuda_equals_the_cpu(kernel):
    z = torch.randn(300, 12)
    prior = Gaussian(12)
    expected = MMD(prior, kernel)(z)
    assert abs(MMD(Gaussian(12).cuda(), kernel)(z.cuda()).cpu() - expected) < 1e-5
