"""Plain functions as kernels."""

import copy

import pytest
import torch
from helpers.configs import SMALL, changed

from mmdprior import MMD, InputError, mmd
from mmdprior.build.builder import Builder
from mmdprior.config.load import make_config
from mmdprior.kernels import RBF, Sum
from mmdprior.kernels.function import FunctionKernel, as_kernel
from mmdprior.priors import Gaussian
from mmdprior.testing import check_kernel

X, Y = torch.randn(40, 3), torch.randn(50, 3)


def gaussian(x, y, lengthscale=1.0):
    return torch.exp(-torch.cdist(x, y).square() / (2 * lengthscale**2))


def test_it_is_the_kernel_that_it_computes():
    check_kernel(FunctionKernel(gaussian))
    assert mmd(X, Y, gaussian) == pytest.approx(float(mmd(X, Y, RBF(1.0))), rel=1e-4)
    assert FunctionKernel(gaussian, lengthscale=2.0)(X, Y) == pytest.approx(RBF(2.0)(X, Y), abs=1e-5)


def test_a_penalty_with_a_function_has_the_value_and_gradient_of_the_kernel():
    values = []
    for kernel in (gaussian, RBF(1.0), Sum([gaussian])):
        z = X.clone().requires_grad_()
        penalty = MMD(Gaussian(3), kernel, estimator="unbiased", seed=0)
        value = penalty(z)
        value.backward()
        values.append((float(value), z.grad))
        copy.deepcopy(penalty)(z)
    for value, gradient in values[1:]:
        assert value == pytest.approx(values[0][0], rel=1e-3, abs=1e-6)
        assert torch.allclose(gradient, values[0][1], atol=1e-6)


def test_yaml(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\n"
        "def cauchy(x, y, scale: float = 1.0):\n"
        "    return 1 / (1 + torch.cdist(x, y) / scale)\n"
    )
    kernel = {"target": "mine.py:cauchy", "scale": 2.0}
    config = make_config(changed("regularizer.kernel", kernel, SMALL), tmp_path, "x.yaml")
    penalty = Builder(config).regularizer()
    assert penalty.kernel.arguments == {"scale": 2.0}
    assert "cauchy, scale=2.0" in penalty.describe()
    with pytest.raises(InputError, match="regularizer.kernel.scal: unknown key; did you mean 'scale'?"):
        make_config(changed("regularizer.kernel", {**kernel, "scal": 1}, SMALL), tmp_path, "x.yaml")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x, y: x.sum(),
            r"<lambda> returned shape \(\) for 40 and 50 codes; return \(40, 50\)",
        ),
        (lambda x, y: torch.cdist(y, x), r"returned shape \(50, 40\)"),
        (lambda x, y: 1.0, "returned float"),
    ],
)
def test_functions_of_another_form(function, message):
    with pytest.raises(InputError, match=message):
        as_kernel(function)(X, Y)


@pytest.mark.parametrize("value", [RBF, "rbf", 3, None])
def test_what_is_no_kernel(value):
    with pytest.raises(InputError, match="give a kernel of mmdprior.kernels, such as"):
        as_kernel(value)
