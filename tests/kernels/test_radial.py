"""Kernels of the distance: energy distance, published constants, mixtures of RBFs, short length-scales."""

import pytest
import torch
from helpers.kernel_catalogue import KERNELS, WAE_SCALES

from mmdprior import mmd
from mmdprior.kernels import RBF, WAE_IMQ, Energy
from mmdprior.kernels.distance import squared_distance
from mmdprior.priors import FromCallable, Gaussian, Uniform


def test_wae_scales_follow_the_published_constants():
    x = torch.randn(5, 4, dtype=torch.float64)

    def published(c):
        return sum(s * c / (s * c + squared_distance(x, x)) for s in WAE_SCALES)

    assert torch.allclose(WAE_IMQ().bind(Gaussian(4, scale=3.0))(x, x), published(2 * 4 * 9.0))
    assert torch.allclose(WAE_IMQ().bind(Uniform(4))(x, x), published(4.0))

    def sphere(n):
        return torch.nn.functional.normalize(torch.randn(n, 4), dim=1)

    bound = WAE_IMQ().bind(FromCallable(sphere, 4))
    assert torch.allclose(bound(x, x), published(2.0), rtol=0.03)


def test_mmd_of_the_energy_kernel_is_the_energy_distance():
    x, y = torch.randn(30, 4, dtype=torch.float64), 1 + torch.randn(40, 4, dtype=torch.float64)
    within = [torch.pdist(z).mean() for z in (x, y)]
    expected = 2 * torch.cdist(x, y).mean() - sum(within)
    assert abs(mmd(x, y, Energy()) - expected) < 1e-12
    powered = 2 * torch.cdist(x, y).pow(1.5).mean() - sum(torch.pdist(z).pow(1.5).mean() for z in (x, y))
    assert abs(mmd(x, y, Energy(1.5)) - powered) < 1e-12


@pytest.mark.parametrize(
    "name",
    [
        "rational_quadratic",
        "rbf_scales",
        "sliced_sphere",
        "rbf",
        "rbf_sqrt_dim",
        "imq",
        "imq_sqrt_dim",
        "wae_imq",
    ],
)
def test_mixture_of_rbfs_equals_the_kernel(name):
    kernel = KERNELS[name]()
    x, y = torch.randn(6, 3, dtype=torch.float64), 2 * torch.randn(5, 3, dtype=torch.float64)
    weights, squared = kernel.rbf_mixture(3)
    mixture = (weights * torch.exp(-0.5 * squared_distance(x, y)[..., None] / squared)).sum(-1)
    assert torch.allclose(mixture, kernel(x, y), atol=1e-9)


def test_short_lengthscales_vanish_without_subnormal_numbers():
    x = torch.linspace(0, 3, 40, dtype=torch.float64)[:, None].requires_grad_()
    gram = RBF(0.05)(x, x)
    exact = torch.exp(-0.5 * (x - x.T).detach().square() / 0.05**2)
    assert (gram - exact).abs().max() < 1e-11
    assert torch.finfo(torch.float32).tiny < gram.min() < 1e-34
    assert RBF(0.05)(x.float(), x.float()).min() > torch.finfo(torch.float32).tiny
    gram.sum().backward()
    assert torch.isfinite(x.grad).all()
