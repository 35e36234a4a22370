"""One contract for every kernel; values against brute force in float64."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.special import hyp1f1

from mmdprior import InputError, mmd
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Kernel,
    Laplacian,
    Matern32,
    Matern52,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.kernels.bandwidth import median_of_prior
from mmdprior.kernels.distance import squared_distance
from mmdprior.priors import FromCallable, FromDistribution, Gaussian, Prior, Uniform

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def sphere_mean(r2, d):
    """E exp(-u^2 r^2 / 2) over one coordinate u of a uniform direction (NIST DLMF 13.4.1)."""
    return 0.5 * (math.exp(-r2 / 2) + math.exp(-r2 / 2)) if d == 1 else float(hyp1f1(0.5, d / 2, -r2 / 2))


KERNELS = {
    "rational_quadratic": (
        lambda: RationalQuadratic(1.3, alpha=0.7),
        lambda r2, d: (1 + r2 / (2 * 0.7 * 1.3**2)) ** -0.7,
    ),
    "laplacian": (lambda: Laplacian(1.3), lambda r2, d: math.exp(-math.sqrt(r2) / 1.3)),
    "matern32": (
        lambda: Matern32(1.3),
        lambda r2, d: (1 + math.sqrt(3 * r2) / 1.3) * math.exp(-math.sqrt(3 * r2) / 1.3),
    ),
    "matern52": (
        lambda: Matern52(1.3),
        lambda r2, d: (
            (1 + math.sqrt(5 * r2) / 1.3 + 5 * r2 / (3 * 1.3**2)) * math.exp(-math.sqrt(5 * r2) / 1.3)
        ),
    ),
    "rbf_scales": (
        lambda: RBF(1.3, factors=[0.5, 2.0]),
        lambda r2, d: math.exp(-r2 / 1.3**2) + math.exp(-r2 / (4 * 1.3**2)),
    ),
    "sliced_sphere": (lambda: Sliced(), sphere_mean),
    "product": (
        lambda: ProductKernel([RBF(1.0), IMQ(2.0)]),
        lambda r2, d: math.exp(-r2 / 2) * 2 / (2 + r2),
    ),
    "rbf": (lambda: RBF(1.3), lambda r2, d: math.exp(-r2 / (2 * 1.3**2))),
    "rbf_sqrt_dim": (lambda: RBF(), lambda r2, d: math.exp(-r2 / (2 * d))),
    "imq": (lambda: IMQ(2.5), lambda r2, d: 2.5 / (2.5 + r2)),
    "imq_sqrt_dim": (lambda: IMQ(), lambda r2, d: 2 * d / (2 * d + r2)),
    "wae_imq": (lambda: WAE_IMQ(), lambda r2, d: sum(s * 2 * d / (s * 2 * d + r2) for s in SCALES)),
    "sum": (
        lambda: Sum([RBF(1.0), IMQ(2.0)], [0.5, 3.0]),
        lambda r2, d: 0.5 * math.exp(-r2 / 2) + 3 * 2 / (2 + r2),
    ),
}


def brute(formula, x, y):
    d = x.shape[1]
    return np.array([[formula(float(((a - b) ** 2).sum()), d) for b in y] for a in x])


@pytest.mark.parametrize("name", KERNELS)
class TestContract:
    @pytest.mark.parametrize("d", [1, 3, 32])
    def test_equals_brute_force(self, name, d):
        make, formula = KERNELS[name]
        x, y = torch.randn(6, d, dtype=torch.float64), torch.randn(9, d, dtype=torch.float64)
        expected = brute(formula, x.numpy(), y.numpy())
        np.testing.assert_allclose(make()(x, y), expected, rtol=1e-10, atol=1e-13)

    def test_is_symmetric_and_positive_definite(self, name):
        x = torch.randn(20, 4, dtype=torch.float64)
        gram = KERNELS[name][0]()(x, x)
        assert torch.allclose(gram, gram.T, atol=1e-14)
        assert torch.linalg.eigvalsh(gram).min() > -1e-12

    def test_gradient(self, name):
        kernel = KERNELS[name][0]()
        x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        y = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(kernel, (x, y))
        assert torch.autograd.gradgradcheck(kernel, (x, y))

    def test_gradient_is_finite_at_equal_points(self, name):
        x = torch.zeros(3, 2, requires_grad=True)
        KERNELS[name][0]()(x, x.detach()).sum().backward()
        assert torch.isfinite(x.grad).all()

    def test_reduced_precision_inputs_and_modes_do_not_matter(self, name):
        kernel, x, y = KERNELS[name][0](), torch.randn(64, 128), torch.randn(64, 128)
        expected = kernel(x.double(), y.double()).float()
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                gram = kernel(x, y)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(precision)
        assert gram.dtype == torch.float32
        assert torch.allclose(gram, expected, atol=1e-5)
        assert kernel(x.bfloat16(), y.bfloat16()).dtype == torch.float32

    def test_far_from_the_origin_costs_no_digits(self, name):
        kernel = KERNELS[name][0]()
        x, y = (torch.randn(30, 4) * 8).round() / 8, (torch.randn(30, 4) * 8).round() / 8
        assert torch.allclose(kernel(x + 1000, y + 1000), kernel(x, y), atol=1e-4)

    def test_pickles_and_copies_states(self, name):
        kernel, x = KERNELS[name][0](), torch.randn(5, 3)
        assert torch.equal(pickle.loads(pickle.dumps(kernel))(x, x), kernel(x, x))

    def test_refuses_different_widths(self, name):
        with pytest.raises(Exception, match="shapes|Type-check"):
            KERNELS[name][0]()(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch is too old")
def test_precision_settings_per_backend_are_respected_and_restored():
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    x = torch.randn(8, 3)
    expected = RBF()(x, x)
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        assert torch.equal(RBF()(x, x), expected)
        assert [backend.fp32_precision for backend in backends] == ["tf32", "bf16"]
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def test_degenerate_bandwidths():
    class Point(Prior):
        def sample(self, n, generator=None):
            return torch.zeros(n, self.dim)

    for kernel in (RBF("median_prior"), WAE_IMQ()):
        with pytest.raises(InputError, match="median squared distance between draws of Point is 0"):
            kernel.bind(Point(3))
    collapsed = torch.zeros(64, 3, requires_grad=True)
    value = mmd(collapsed, torch.randn(16, 3), RBF("median_batch"))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(collapsed.grad).all()
    assert torch.isfinite(mmd(torch.zeros(9, 3), torch.zeros(9, 3), IMQ("median_batch")))


def test_heavy_tails_have_no_moments_but_a_median():
    cauchy = FromDistribution(torch.distributions.Cauchy(torch.zeros(3), torch.ones(3)))
    x = torch.randn(5, 3)
    assert torch.isfinite(WAE_IMQ().bind(cauchy)(x, x)).all()


def test_median_of_the_prior_is_the_median():
    prior = Gaussian(5, scale=2.0)
    x = prior.sample(4000, torch.Generator().manual_seed(3))
    r2 = ((x[:2000] - x[2000:]) ** 2).sum(1).median()
    assert abs(median_of_prior(prior) / float(r2) - 1) < 0.06
    bound = RBF("median_prior").bind(prior)
    expected = torch.exp(-squared_distance(x[:9], x[9:18]) / median_of_prior(prior))
    assert torch.allclose(bound(x[:9], x[9:18]), expected, atol=1e-6)


def test_median_of_the_batch_is_shared_by_all_terms_and_has_no_gradient():
    x, y = torch.randn(40, 3), 2 * torch.randn(40, 3)
    pooled = torch.cat([x, y])
    r2 = torch.pdist(pooled.double()).square().median()
    fixed = IMQ("median_batch").adapt(x.requires_grad_(), y)
    assert torch.allclose(fixed(y, y), r2.float() / (r2.float() + squared_distance(y, y)), atol=1e-5)
    assert not fixed._bandwidth.requires_grad


def test_wae_scales_follow_the_published_constants():
    x = torch.randn(5, 4, dtype=torch.float64)

    def at(c):
        return sum(s * c / (s * c + squared_distance(x, x)) for s in SCALES)

    assert torch.allclose(WAE_IMQ().bind(Gaussian(4, scale=3.0))(x, x), at(2 * 4 * 9.0))
    assert torch.allclose(WAE_IMQ().bind(Uniform(4))(x, x), at(4.0))

    def sphere(n):
        return torch.nn.functional.normalize(torch.randn(n, 4), dim=1)

    bound = WAE_IMQ().bind(FromCallable(sphere, 4))
    assert torch.allclose(bound(x, x), at(2.0), rtol=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RBF(0.0), "lengthscale: 0.0"),
        (lambda: RBF(float("inf")), "lengthscale: inf"),
        (lambda: IMQ(-1.0), "scale: -1.0"),
        (lambda: WAE_IMQ(factors=[0.0]), "factors"),
        (lambda: RationalQuadratic(alpha=0.0), "alpha: 0.0"),
        (lambda: Energy(2.0), "power: 2.0"),
        (lambda: Sliced(lengthscale=0.0), "lengthscale: 0.0"),
        (lambda: Sliced(directions=0), "directions: 0"),
        (lambda: ProductKernel([]), "kernels"),
        (lambda: Sum([]), "kernels"),
        (lambda: Sum([RBF()], [0.0]), "weights"),
        (lambda: RBF("median_prior")(torch.zeros(2, 2), torch.zeros(2, 2)), "needs a prior"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_energy_is_the_energy_distance():
    x, y = torch.randn(30, 4, dtype=torch.float64), 1 + torch.randn(40, 4, dtype=torch.float64)
    within = [torch.pdist(z).mean() for z in (x, y)]
    expected = 2 * torch.cdist(x, y).mean() - sum(within)
    assert abs(mmd(x, y, Energy()) - expected) < 1e-12
    powered = 2 * torch.cdist(x, y).pow(1.5).mean() - sum(torch.pdist(z).pow(1.5).mean() for z in (x, y))
    assert abs(mmd(x, y, Energy(1.5)) - powered) < 1e-12


def test_drawn_directions_average_to_the_whole_sphere():
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    drawn = Sliced(directions=20_000).adapt(x, y, torch.Generator().manual_seed(0))
    assert (drawn(x, y) - Sliced()(x, y)).abs().max() < 0.02
    few = Sliced(directions=4)
    assert not torch.equal(few.adapt(x, y)(x, y), few.adapt(x, y)(x, y))
    same = [few.adapt(x, y, torch.Generator().manual_seed(3))(x, y) for _ in range(2)]
    assert torch.equal(*same)


@pytest.mark.parametrize("name", [n for n in KERNELS if n not in ("laplacian", "matern32", "matern52")])
def test_mixture_of_rbfs_is_the_kernel(name):
    if name == "product":
        pytest.skip("a product of kernels is not written as a mixture")
    kernel = KERNELS[name][0]()
    if isinstance(kernel, Sum):
        pytest.skip("the terms of a sum are written one by one")
    x, y = torch.randn(6, 3, dtype=torch.float64), 2 * torch.randn(5, 3, dtype=torch.float64)
    weights, squared = kernel.rbf_mixture(3)
    mixture = (weights * torch.exp(-0.5 * squared_distance(x, y)[..., None] / squared)).sum(-1)
    assert torch.allclose(mixture, kernel(x, y), atol=1e-9)


class LearnedLength(Kernel):
    def __init__(self):
        super().__init__()
        self.length = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def evaluate(self, x, y):
        return torch.exp(-0.5 * squared_distance(x, y) / self.length**2)


@pytest.mark.parametrize(
    "make",
    [RBF, Energy, lambda: Sum([IMQ(), Matern32()]), lambda: ANOVA(order=3).bind(Gaussian(3)), LearnedLength],
)
def test_blocks_give_the_same_averages_and_gradients(make, monkeypatch):
    kernel = make()
    x = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(33, 3, dtype=torch.float64, requires_grad=True)
    sources = (x, y, *kernel.parameters())
    estimators = ("unbiased", "biased")
    whole = sum(mmd(x, y, kernel, how) for how in estimators)
    expected = torch.autograd.grad(whole, sources)
    monkeypatch.setattr("mmdprior.kernels.pairs.BLOCK_ROWS", 16)
    monkeypatch.setattr("mmdprior.kernels.pairs.MAX_ENTRIES", 16**2)
    in_blocks = sum(mmd(x, y, kernel, how) for how in estimators)
    assert torch.allclose(in_blocks, whole, rtol=1e-12)
    for gradient, exact in zip(torch.autograd.grad(in_blocks, sources), expected, strict=True):
        assert torch.allclose(gradient, exact, rtol=1e-9, atol=1e-13)
    frozen = torch.autograd.grad(mmd(x.detach(), y, kernel), y)[0]
    assert torch.allclose(frozen, torch.autograd.grad(mmd(x, y, kernel), y)[0], rtol=1e-12, atol=1e-14)


def test_blocks_keep_the_samples_alone_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr("mmdprior.kernels.pairs.BLOCK_ROWS", 16)
    monkeypatch.setattr("mmdprior.kernels.pairs.MAX_ENTRIES", 16**2)
    x, y = torch.randn(200, 3, requires_grad=True), torch.randn(150, 3)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        mmd(x, y, RBF())
    assert 0 < sum(kept) < 4 * (x.numel() + y.numel())


def test_short_lengthscales_vanish_without_subnormal_numbers():
    x = torch.linspace(0, 3, 40, dtype=torch.float64)[:, None].requires_grad_()
    gram = RBF(0.05)(x, x)
    exact = torch.exp(-0.5 * (x - x.T).detach().square() / 0.05**2)
    assert (gram - exact).abs().max() < 1e-11
    assert torch.finfo(torch.float32).tiny < gram.min() < 1e-34
    assert RBF(0.05)(x.float(), x.float()).min() > torch.finfo(torch.float32).tiny
    gram.sum().backward()
    assert torch.isfinite(x.grad).all()
