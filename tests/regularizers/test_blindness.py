"""A penalty that cannot move the codes warns once, with the cure; one that can is silent, and moves them."""

import copy
import warnings

import pytest
import torch
from torch import nn

from mmdprior import KL, MMD, Latent
from mmdprior.errors import InputWarning
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.priors import Gaussian, GaussianMixture, Uniform, as_prior
from mmdprior.regularizers import Predictability, SumOfPenalties

FAR = {
    "rbf": RBF,
    "rbf_of_one": lambda: RBF(1.0),
    "median_prior": lambda: RBF("median_prior"),
    "laplacian": Laplacian,
    "matern": Matern32,
    "sliced_directions": lambda: Sliced(directions=4),
    "anova": ANOVA,
    "anova_3": lambda: ANOVA(order=3),
    "anova_frequencies": lambda: ANOVA(frequencies=2),
    "sum": lambda: Sum([RBF(), RBF(1.0)]),
    "sum_with_features": lambda: Sum([ANOVA(), WAE_IMQ()]),
    "product": lambda: ProductKernel([RBF(), IMQ()]),
}
NEAR = {
    "default": lambda: None,
    "rbf_long": lambda: RBF(30.0),
    "rbf_scales": lambda: RBF(factors=[1.0, 10.0, 100.0, 1000.0]),
    "median_batch": lambda: RBF("median_batch"),
    "imq": IMQ,
    "wae": WAE_IMQ,
    "rational_quadratic": RationalQuadratic,
    "energy": Energy,
    "sliced": Sliced,
    "sum": lambda: Sum([RBF(), IMQ()]),
}


def train(penalty, bias=30.0, steps=20):
    """Return the mean of the codes of a linear layer after training by the penalty only, and the warnings."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    nn.init.constant_(layer.bias, bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            optimizer.zero_grad()
            penalty(layer(torch.randn(32, 8)), step=step).backward()
            optimizer.step()
    texts = [str(entry.message) for entry in caught if issubclass(entry.category, InputWarning)]
    return float(layer(torch.randn(64, 8)).detach().mean()), texts


@pytest.mark.parametrize("name", FAR)
def test_codes_out_of_reach_are_reported_once(name):
    mean, texts = train(MMD(Gaussian(4), FAR[name](), seed=0))
    assert mean > 17
    (text,) = texts
    assert "\n" not in text
    for cure in ("zero bias", "length-scale", "median_batch", "sum of length-scales"):
        assert cure in text


@pytest.mark.parametrize("name", NEAR)
def test_kernels_that_reach_the_codes_move_them_in_silence(name):
    mean, texts = train(MMD(Gaussian(4), NEAR[name](), seed=0))
    assert mean < 20
    assert texts == []


@pytest.mark.parametrize(
    ("prior", "estimator"),
    [
        (lambda: Gaussian(4), "unbiased"),
        (lambda: Uniform(4), "biased"),
        (lambda: GaussianMixture(torch.eye(4), 0.2), "auto"),
        (lambda: as_prior(torch.randn, 4), "auto"),
    ],
)
def test_every_prior_and_estimator_is_checked(prior, estimator):
    _, texts = train(MMD(prior(), RBF(), estimator, seed=0), steps=2)
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("prior", "kernel"),
    [(Gaussian(4), RBF(1e6)), (Uniform(4), IMQ(1e8)), (Gaussian(4), ANOVA(lengthscale=1e6))],
)
def test_a_length_scale_that_is_too_large_is_reported(prior, kernel):
    _, texts = train(MMD(prior, kernel), bias=0.0, steps=20)
    assert len(texts) == 1
    assert "smaller length-scale" in texts[0]


@pytest.mark.parametrize(("dim", "kernel"), [(128, RBF(1.0)), (4, RBF(1e-3)), (64, Laplacian(0.5))])
def test_a_length_scale_that_is_too_small_for_the_prior_itself_is_reported(dim, kernel):
    with pytest.warns(InputWarning, match="larger length-scale"):
        MMD(Gaussian(dim), kernel)(torch.randn(64, dim, requires_grad=True))


def test_codes_that_leave_the_reach_later_are_reported():
    penalty, z = MMD(Gaussian(4), RBF()), torch.randn(64, 4, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(15):
            penalty(z)
    with pytest.warns(InputWarning):
        penalty(z + 100)


def test_float64_reaches_further():
    z = torch.full((64, 4), 9.0, requires_grad=True)
    with pytest.warns(InputWarning):
        MMD(Gaussian(4), RBF())(z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MMD(Gaussian(4), RBF())(z.double())


@pytest.mark.parametrize("kernel", [RBF, WAE_IMQ, ANOVA, Energy, lambda: Sum([ANOVA(), RBF()])])
@pytest.mark.parametrize("codes", [torch.zeros(64, 4), torch.randn(64, 4), 0.01 * torch.randn(64, 4)])
def test_codes_near_the_prior_are_not_reported(kernel, codes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MMD(Gaussian(4), kernel())(codes.clone().requires_grad_())
        MMD(Gaussian(4), kernel())(100 + codes)  # without gradient there is nothing to move


def test_the_check_draws_from_no_other_generator_and_keeps_the_value():
    z = torch.randn(64, 4)
    torch.manual_seed(3)
    expected, after = MMD(Uniform(4), IMQ())(z), torch.rand(1)
    torch.manual_seed(3)
    assert MMD(Uniform(4), IMQ())(z.clone().requires_grad_()) == expected
    assert torch.equal(torch.rand(1), after)


def test_the_warning_is_given_once_inside_a_sum_and_by_copies():
    penalty = SumOfPenalties([MMD(Gaussian(4), RBF())])
    _, texts = train(penalty, steps=20)
    assert len(texts) == 1
    assert train(copy.deepcopy(penalty), steps=20)[1] == []


def test_kl_moves_codes_at_any_distance():
    mean = torch.full((8, 4), 1000.0, requires_grad=True)
    KL()(Latent(mean, mean, torch.zeros(8, 4))).backward()
    assert (mean.grad > 0).all()


@pytest.mark.parametrize(
    ("codes", "options"),
    [
        (torch.full((16, 3), 30.0), {}),
        (1e-5 * torch.randn(16, 3), {}),
        (torch.zeros(16, 3), {"standardise": False}),
        (torch.tensor([1.0, 0.0, 0.0]) * torch.randn(16, 3), {}),
    ],
)
def test_predictability_of_constant_codes_is_reported_once(codes, options):
    penalty, z = Predictability(3, hidden=(4,), **options), codes.requires_grad_()
    with pytest.warns(InputWarning, match="of 3 dimensions vary"):
        penalty(z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):
            penalty(z)
        Predictability(3, hidden=(4,), **options)(torch.randn(16, 3, requires_grad=True))
