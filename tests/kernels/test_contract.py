"""Every kernel satisfies the contract and equals its formula; bad arguments give one-line errors."""

import pickle

import numpy as np
import pytest
import torch
from helpers.kernel_catalogue import FORMULAS, KERNELS

from mmdprior import InputError, mmd
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.priors import Gaussian, Uniform
from mmdprior.testing import check_kernel


@pytest.mark.parametrize("name", KERNELS)
def test_satisfies_the_contract(name):
    check_kernel(KERNELS[name]())


def evaluate_pairwise(formula, x, y):
    d = x.shape[1]
    return np.array([[formula(float(((a - b) ** 2).sum()), d) for b in y] for a in x])


@pytest.mark.parametrize("name", FORMULAS)
class TestRadialContract:
    @pytest.mark.parametrize("d", [1, 3, 32])
    def test_equals_its_formula(self, name, d):
        make, formula = FORMULAS[name]
        x, y = torch.randn(6, d, dtype=torch.float64), torch.randn(9, d, dtype=torch.float64)
        expected = evaluate_pairwise(formula, x.numpy(), y.numpy())
        np.testing.assert_allclose(make()(x, y), expected, rtol=1e-10, atol=1e-13)

    def test_is_symmetric_and_positive_semi_definite(self, name):
        x = torch.randn(20, 4, dtype=torch.float64)
        gram = KERNELS[name]()(x, x)
        assert torch.allclose(gram, gram.T, atol=1e-14)
        assert torch.linalg.eigvalsh(gram).min() > -1e-12

    def test_first_and_second_derivatives(self, name):
        kernel = KERNELS[name]()
        x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
        y = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(kernel, (x, y))
        assert torch.autograd.gradgradcheck(kernel, (x, y))

    def test_gradient_is_finite_at_equal_points(self, name):
        x = torch.zeros(3, 2, requires_grad=True)
        KERNELS[name]()(x, x.detach()).sum().backward()
        assert torch.isfinite(x.grad).all()

    def test_reduced_precision_of_inputs_and_modes_does_not_matter(self, name):
        kernel, x, y = KERNELS[name](), torch.randn(64, 128), torch.randn(64, 128)
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

    def test_codes_far_from_the_origin_lose_no_digits(self, name):
        kernel = KERNELS[name]()
        x, y = (torch.randn(30, 4) * 8).round() / 8, (torch.randn(30, 4) * 8).round() / 8
        assert torch.allclose(kernel(x + 1000, y + 1000), kernel(x, y), atol=1e-4)

    def test_pickles(self, name):
        kernel, x = KERNELS[name](), torch.randn(5, 3)
        assert torch.equal(pickle.loads(pickle.dumps(kernel))(x, x), kernel(x, x))

    def test_rejects_samples_of_different_width(self, name):
        with pytest.raises(Exception, match="shapes|Type-check|violates type hint"):
            KERNELS[name]()(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch is too old")
def test_precision_settings_per_backend_are_overridden_and_restored():
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


@pytest.mark.parametrize("name", KERNELS)
def test_binding_to_one_prior_does_not_change_the_kernel_bound_to_another(name):
    kernel, x = KERNELS[name](), torch.randn(6, 3)
    first = kernel.bind(Gaussian(3, scale=2.0))
    expected, shown = first.adapt(x, x, torch.Generator().manual_seed(0))(x, x), repr(first)
    kernel.bind(Uniform(3))
    assert torch.equal(first.adapt(x, x, torch.Generator().manual_seed(0))(x, x), expected)
    assert repr(first) == shown


@pytest.mark.parametrize("name", ["anova", "anova_3", "sum_anova", "median_batch", "sliced_directions"])
def test_mmd_weights_and_adds_all_terms(name):
    """`mmd` of a kernel that is not bound equals that of the kernel's matrix."""
    kernel, x, y = KERNELS[name](), torch.randn(9, 3).double(), torch.randn(7, 3).double()
    torch.manual_seed(0)
    adapted = kernel.adapt(x, y)
    expected = adapted(x, x).mean() + adapted(y, y).mean() - 2 * adapted(x, y).mean()
    torch.manual_seed(0)
    assert abs(mmd(x, y, kernel, "biased") - expected) < 1e-6


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
        (lambda: ANOVA(order=4), "order: 4"),
        (lambda: ANOVA(lengthscale=0.0), "lengthscale: 0.0"),
        (lambda: ANOVA(weights=[1.0]), "weights"),
        (lambda: ANOVA(weights=[1.0, -1.0]), "weights"),
        (lambda: ANOVA(frequencies=0), "frequencies: 0"),
        (lambda: ANOVA(lengthscale=1e-5).bind(Gaussian(2)), "lengthscale: 1e-05 received; too short"),
        (lambda: ANOVA().bind(Gaussian(2))(torch.zeros(3, 4), torch.zeros(3, 4)), "codes: 4 dimensions"),
        (lambda: ANOVA().null_variance(), "not bound to a prior"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
