"""Cdf, quantile and characteristic function of every marginal against scipy and quadrature."""

import math

import numpy as np
import pytest
import torch
from helpers.prior_catalogue import ATOMIC, PRIORS, draw
from scipy import integrate, special, stats

from mmdprior.priors.marginals import (
    AffineMarginal,
    AtomsMarginal,
    BetaMarginal,
    GeneralizedGaussianMarginal,
    LaplaceMarginal,
    LogisticMarginal,
    MixtureMarginal,
    NormalMarginal,
    StudentTMarginal,
    UniformMarginal,
)
from mmdprior.priors.special import log_beta_cdf

FAMILIES = {
    "normal": (NormalMarginal(0.5, 2.0), stats.norm(0.5, 2.0)),
    "uniform": (UniformMarginal(-1.0, 3.0), stats.uniform(-1, 4)),
    "laplace": (LaplaceMarginal(0.5, 2.0), stats.laplace(0.5, 2)),
    "logistic": (LogisticMarginal(0.5, 2.0), stats.logistic(0.5, 2)),
    "t0.3": (StudentTMarginal(0.3, 0.0, 1.0), stats.t(0.3)),
    "t1": (StudentTMarginal(1.0, 0.5, 2.0), stats.t(1, 0.5, 2)),
    "t2.5": (StudentTMarginal(2.5, 0.5, 2.0), stats.t(2.5, 0.5, 2)),
    "t150": (StudentTMarginal(150.0, 0.0, 1.0), stats.t(150)),
    "beta.05_3": (BetaMarginal(0.05, 3.0, 0.0, 1.0), stats.beta(0.05, 3)),
    "arcsine": (BetaMarginal(0.5, 0.5, -2.0, 2.0), stats.beta(0.5, 0.5, -2, 4)),
    "beta2_5": (BetaMarginal(2.0, 5.0, -1.0, 1.0), stats.beta(2, 5, -1, 2)),
    "beta63_63": (BetaMarginal(63.5, 63.5, -8.0, 8.0), stats.beta(63.5, 63.5, -8, 16)),
    "beta400_3": (BetaMarginal(400.0, 3.0, 0.0, 1.0), stats.beta(400, 3)),
    "gennorm.5": (GeneralizedGaussianMarginal(0.5, 0.0, 1.0), stats.gennorm(0.5)),
    "gennorm1.5": (GeneralizedGaussianMarginal(1.5, 0.5, 2.0), stats.gennorm(1.5, 0.5, 2)),
    "gennorm8": (GeneralizedGaussianMarginal(8.0, 0.0, 1.0), stats.gennorm(8)),
    "affine": (AffineMarginal(BetaMarginal(2.0, 5.0, 0.0, 1.0), -2.0, 1.0), stats.beta(5, 2, -1, 2)),
}
T = torch.cat([torch.linspace(-10, 10, 41), torch.tensor([1e-8, 0.01])]).double()
U = torch.cat([torch.logspace(-12, -3, 10), torch.linspace(0.01, 0.99, 99)]).double()


@pytest.mark.parametrize("name", FAMILIES)
def test_cdf_and_quantile_against_scipy(name):
    marginal, family = FAMILIES[name]
    x = np.concatenate([family.ppf(np.linspace(0.0005, 0.9995, 101)), np.linspace(-12, 12, 49)])
    cdf = marginal.cdf(torch.tensor(x)).numpy()
    np.testing.assert_allclose(cdf, family.cdf(x), rtol=1e-10, atol=1e-10)
    # Near an end other than zero, float64 numbers are too sparse for tiny probabilities.
    u = U[U > 1e-3] if isinstance(marginal, (AffineMarginal, BetaMarginal)) else U
    np.testing.assert_allclose(marginal.quantile(u), family.ppf(u), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(marginal.cdf(marginal.quantile(u)), u, rtol=1e-9, atol=1e-13)
    assert marginal.quantile(torch.rand(2, 3)).dtype == torch.float32
    assert marginal.quantile(torch.rand(0)).shape == (0,)


def gauss_jacobi(marginal, t):
    nodes, weights = special.roots_jacobi(200, marginal.beta - 1, marginal.alpha - 1)
    x = marginal.low + (marginal.high - marginal.low) * (nodes + 1) / 2
    return (np.exp(1j * np.multiply.outer(t, x)) * weights).sum(-1) / weights.sum()


def bessel(marginal, t):
    """Hurst's closed form, K_v(s) s^v / (Gamma(v) 2^(v - 1)), v = df / 2, s = sqrt(df) scale |t|."""
    order, s = marginal.df / 2, np.abs(t) * marginal.scale * math.sqrt(marginal.df)
    with np.errstate(all="ignore"):
        logs = np.log(special.kve(order, s)) - s + order * np.log(s)
    size = np.exp(logs - special.gammaln(order) - (order - 1) * math.log(2))
    return np.where(s == 0, 1.0, size) * np.exp(1j * t * marginal.loc)


def fourier(marginal, t):
    norm = marginal.shape / (2 * special.gamma(1 / marginal.shape))

    def density(x):
        return norm * math.exp(-(x**marginal.shape))

    return symmetric(density, 45 ** (1 / marginal.shape), t * marginal.scale) * np.exp(1j * t * marginal.loc)


def student_density(x, df=150):
    norm = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi * df)
    return norm * (1 + x**2 / df) ** (-(df + 1) / 2)


def symmetric(density, top, t):
    """Twice the cosine integral of a density over [0, top]."""

    def integral(s):
        return 2 * integrate.quad(density, 0, top, weight="cos", wvar=s, limit=2000, epsabs=1e-12)[0]

    return np.array([integral(abs(s)) for s in t])


ORACLES = {
    "normal": lambda m, t: np.exp(0.5j * t - 2 * t**2),
    "uniform": lambda m, t: np.exp(1j * t) * np.sinc(2 * t / np.pi),
    "laplace": lambda m, t: np.exp(0.5j * t) / (1 + 4 * t**2),
    "logistic": lambda m, t: np.exp(0.5j * t) * special.gamma(1 + 2j * t) * special.gamma(1 - 2j * t),
    **{name: bessel for name in FAMILIES if name.startswith("t")},
    **{name: gauss_jacobi for name in FAMILIES if isinstance(FAMILIES[name][0], BetaMarginal)},
    **{name: fourier for name in FAMILIES if name.startswith("gennorm")},
    "t150": lambda m, t: symmetric(student_density, 12, t),
    "affine": lambda m, t: np.exp(1j * t) * gauss_jacobi(m.base, -2 * t),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_characteristic_against_closed_forms_and_quadrature(name):
    marginal = FAMILIES[name][0]
    values = marginal.characteristic(T)
    assert values.dtype == torch.complex128
    np.testing.assert_allclose(values, ORACLES[name](marginal, T.numpy()), rtol=0, atol=1e-9)
    assert marginal.characteristic(T.float()[None]).shape == (1, len(T))
    assert marginal.characteristic(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("shape", [0.1, 1.0, 2.0, 20.0])
def test_characteristic_of_the_generalised_gaussian_at_small_and_large_arguments(shape):
    """The normal and Laplace closed forms up to t = 10,000, and 1 at t = 0 for every shape."""
    t = torch.logspace(-6, 4, 60, dtype=torch.float64)
    values = GeneralizedGaussianMarginal(shape, 0.0, 1.0).characteristic(t).real
    if shape == 1.0:
        torch.testing.assert_close(values, 1 / (1 + t**2), rtol=0, atol=1e-12)
    if shape == 2.0:
        torch.testing.assert_close(values, torch.exp(-(t**2) / 4), rtol=0, atol=1e-12)
    at_zero = GeneralizedGaussianMarginal(shape, 0.0, 1.0).characteristic(torch.zeros(1))
    torch.testing.assert_close(at_zero, torch.ones(1, dtype=torch.complex128), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ATOMIC)
def test_quantiles_of_atoms_are_atoms(name):
    prior = PRIORS[name]()
    z, u = draw(prior, 500), torch.linspace(0.01, 0.99, 50)
    for i, marginal in enumerate(prior.marginals()):
        x = marginal.quantile(u)
        assert x.dtype == torch.float32
        assert (marginal.cdf(x) >= u - 1e-6).all()
        assert (marginal.cdf(x - 1e-4) <= u + 1e-6).all()
        if "exact" not in name:
            assert set(x.tolist()) <= set(z[:, i].tolist()) | set(x[[0, -1]].tolist())


def test_atoms_at_exact_probabilities():
    dice = AtomsMarginal(torch.arange(1.0, 11.0).double(), torch.full((10,), 0.1).double())
    assert dice.quantile(torch.arange(1, 11).double() / 10).tolist() == list(range(1, 11))
    assert dice.cdf(torch.tensor([0.5, 1.0, 10.0])).tolist() == pytest.approx([0.0, 0.1, 1.0])


def test_quantile_of_a_mixture_is_exactly_its_atom():
    zero = AtomsMarginal(torch.zeros(1).double(), torch.ones(1).double())
    spike = MixtureMarginal([0.5, 0.5], [NormalMarginal(0.0, 1.0), zero])
    assert spike.quantile(torch.tensor([0.3, 0.5, 0.7])).tolist() == [0.0, 0.0, 0.0]
    assert float(spike.quantile(torch.tensor(0.95).double())) == pytest.approx(stats.norm.ppf(0.9))


def test_log_of_the_incomplete_beta_function_against_scipy():
    a = torch.tensor([0.01, 0.5, 3.0, 63.5, 2000.0], dtype=torch.float64)[:, None, None]
    b = torch.tensor([0.02, 0.5, 7.0, 300.0], dtype=torch.float64)[:, None]
    log_odds = torch.linspace(-12, 12, 97, dtype=torch.float64)
    values = log_beta_cdf(*torch.broadcast_tensors(a, b, log_odds)).exp()
    expected = special.betainc(a.numpy(), b.numpy(), special.expit(log_odds.numpy()))
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-11)


def test_gradient_of_the_cdf_is_the_density():
    for marginal, family in FAMILIES.values():
        if not hasattr(marginal, "_density"):
            continue
        x = torch.tensor(family.ppf([0.1, 0.4, 0.8])).requires_grad_()
        marginal.cdf(x).sum().backward()
        np.testing.assert_allclose(x.grad, family.pdf(x.detach()), rtol=1e-9)
