"""MMD against loops in float64, its null distribution, its gradient, and the bugs of public code."""

import math
import re

import pytest
import torch

from mmdprior import MMD, InputError, Latent, mmd
from mmdprior.kernels import IMQ, RBF, WAE_IMQ, Sum
from mmdprior.priors import Gaussian, Uniform

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
KERNELS = {
    "rbf": (RBF(1.7), lambda r2, d: math.exp(-r2 / (2 * 1.7**2))),
    "rbf_sqrt_dim": (RBF(), lambda r2, d: math.exp(-r2 / (2 * d))),
    "imq": (IMQ(3.0), lambda r2, d: 3 / (3 + r2)),
    "wae_imq": (WAE_IMQ(), lambda r2, d: sum(s * 2 * d / (s * 2 * d + r2) for s in SCALES)),
    "sum": (Sum([RBF(1.0), IMQ(1.0)]), lambda r2, d: math.exp(-r2 / 2) + 1 / (1 + r2)),
}


def by_loops(x, y, formula, estimator):
    """Return the MMD from every pair of rows, one at a time."""
    d = x.shape[1]

    def k(a, b):
        return formula(math.fsum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)), d)

    def within(z):
        n = len(z)
        if estimator == "biased":
            return math.fsum(k(a, b) for a in z for b in z) / n**2
        return math.fsum(k(z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    across = math.fsum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * across


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (13, 21, 5), (16, 16, 128)])
def test_equals_loops(name, estimator, n, m, d):
    kernel, formula = KERNELS[name]
    x = torch.randn(n, d, dtype=torch.float64)
    y = 0.5 + 1.5 * torch.randn(m, d, dtype=torch.float64)
    expected = by_loops(x, y, formula, estimator)
    assert abs(float(mmd(x, y, kernel, estimator)) - expected) <= 1e-10 * max(abs(expected), 1e-3)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("name", KERNELS)
def test_gradient(name, estimator):
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: mmd(a, b, KERNELS[name][0], estimator), (x, y))


@pytest.mark.parametrize("name", KERNELS)
def test_unbiased_averages_to_zero_under_the_null(name, generator):
    penalty = MMD(Gaussian(8), KERNELS[name][0])
    values = torch.stack([penalty(torch.randn(64, 8, generator=generator)) for _ in range(120)])
    assert abs(values.mean()) < 3 * values.std() / 120**0.5
    assert values.min() < 0


def test_bias_equals_the_formula(generator):
    """2 (1 - E k) / n under the null, for two samples of n."""
    n, d, kernel = 64, 4, RBF(2.0)
    pairs = [torch.randn(2, n, d, generator=generator, dtype=torch.float64) for _ in range(200)]
    biased = torch.stack([mmd(x, y, kernel, "biased") for x, y in pairs])
    expected = 2 * (1 - (1 + 2 / 4) ** (-d / 2)) / n
    assert abs(biased.mean() - expected) < 4 * biased.std() / 200**0.5


def test_null_variance_matches_the_closed_form(generator):
    """Two samples at l^2 = d: twice the variance of the known-prior statistic, plus the cross terms'."""
    n, d, l2 = 64, 8, 8.0
    values = torch.stack(
        [
            mmd(*torch.randn(2, n, d, generator=generator, dtype=torch.float64), RBF(l2**0.5))
            for _ in range(300)
        ]
    )
    h = (
        (1 + 4 / l2) ** (-d / 2)
        - 2 * (1 + 1 / l2) ** (-d) * (1 + 2 / (1 + l2)) ** (-d / 2)
        + (1 + 2 / l2) ** (-d)
    )
    expected = math.sqrt(h * (2 / (n * (n - 1)) * 2 + 4 / n**2))
    assert abs(float(values.std()) / expected - 1) < 0.12


def test_detects_a_wrong_scale_at_d_128(generator):
    """A second division of the mean squared distance by d would hide it."""
    z = 0.5 * torch.randn(256, 128, generator=generator)
    null = torch.stack([mmd(*torch.randn(2, 256, 128, generator=generator), RBF()) for _ in range(30)]).std()
    assert MMD(Gaussian(128))(z) > 10 * null


def test_equal_samples():
    x = torch.randn(20, 3, dtype=torch.float64)
    assert abs(mmd(x, x, RBF(), "biased")) < 1e-14
    assert mmd(x, x, RBF(), "unbiased") < 0


def test_accepts_latents_and_tensors_of_any_float_dtype():
    z = torch.randn(32, 4)
    penalty = MMD(Gaussian(4), IMQ(), seed=3)
    expected = penalty(z)
    assert expected.shape == ()
    assert torch.equal(penalty(Latent(z, z)), expected)
    assert torch.equal(penalty.terms["mmd"], expected)
    assert not penalty.terms["mmd"].requires_grad
    assert penalty(z.bfloat16()).dtype == torch.float32
    assert penalty(z.double()).dtype == torch.float64


def test_accepts_everything_that_can_be_sampled():
    z = torch.randn(32, 4)
    for prior in (torch.randn(100, 4), torch.distributions.Normal(torch.zeros(4), 1.0)):
        assert torch.isfinite(MMD(prior)(z))


def test_sampled_codes_are_penalised_not_the_means():
    z = torch.randn(64, 4, requires_grad=True)
    mean = torch.zeros(64, 4, requires_grad=True)
    MMD(Gaussian(4))(Latent(z, mean, torch.zeros(64, 4))).backward()
    assert z.grad is not None
    assert mean.grad is None


def test_prior_draws_depend_only_on_seed_and_step():
    z = torch.randn(32, 4)
    seeded = MMD(Gaussian(4), estimator="unbiased", seed=1)
    free = MMD(Gaussian(4), estimator="unbiased")
    again = MMD(Gaussian(4), estimator="unbiased", seed=1)
    assert torch.equal(seeded(z, step=3), again(z, step=3))
    assert not torch.equal(seeded(z, step=3), seeded(z, step=4))
    assert not torch.equal(free(z), free(z))


def test_larger_prior_sample_has_smaller_variance(generator):
    z = torch.randn(64, 4, generator=generator)
    few = MMD(Gaussian(4), estimator="unbiased")
    many = MMD(Gaussian(4), num_samples=1024)
    assert torch.stack([many(z) for _ in range(30)]).std() < torch.stack([few(z) for _ in range(30)]).std()


def test_minimising_it_moves_codes_to_the_prior(generator):
    """An affine encoder of uniform data learns the scale and the shift of the prior."""
    scale, shift = torch.nn.Parameter(torch.full((2,), 0.2)), torch.nn.Parameter(torch.full((2,), 2.0))
    penalty, optimizer = MMD(Uniform(2), RBF(0.7)), torch.optim.Adam([scale, shift], lr=0.04)
    for _ in range(200):
        optimizer.zero_grad()
        penalty(scale * (2 * torch.rand(256, 2, generator=generator) - 1) + shift).backward()
        optimizer.step()
    assert (shift.detach().abs() < 0.08).all()
    assert ((scale.detach().abs() - 1).abs() < 0.08).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MMD(Gaussian(3))(torch.zeros(8, 4)), "prior: dim 3 received; the latent has 4"),
        (lambda: MMD(Gaussian(4))(torch.zeros(1, 4)), "needs 2"),
        (lambda: MMD(Gaussian(4), num_samples=1), "num_samples: 1"),
        (lambda: MMD(Gaussian(4), estimator="median"), "estimator: 'median'|Type-check|violates type hint"),
        (lambda: MMD(Gaussian(4))(torch.zeros(4)), r"latent: shape \(4,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(Exception, match=message) as caught:
        call()
    assert isinstance(caught.value, InputError) or re.search(
        "Type-check|violates type hint", str(caught.value)
    )


@pytest.mark.gpu
def test_tf32_and_autocast_do_not_change_the_value_on_cuda():
    x, y = torch.randn(512, 128, device="cuda"), torch.randn(512, 128, device="cuda")
    expected = mmd(x.double(), y.double(), RBF())
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            value = mmd(x, y, RBF())
    finally:
        torch.set_float32_matmul_precision("highest")
    assert abs(value - expected) < 1e-5


@pytest.mark.gpu
def test_penalty_on_cuda_equals_the_cpu_on_equal_draws():
    z = torch.randn(128, 16)
    points = torch.randn(128, 16)
    penalty = MMD(points)
    torch.manual_seed(0)
    on_cpu = penalty(z)
    torch.manual_seed(0)
    on_cuda = penalty(z.cuda())
    assert abs(on_cpu - on_cuda.cpu()) < 1e-5
