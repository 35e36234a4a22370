"""Maps from N(0, I) to priors, compared with scipy, with densities and with draws."""

import math

import numpy as np
import pytest
import torch
from helpers.prior_catalogue import ATOMIC, PRIORS
from scipy import stats

from mmdprior import InputError
from mmdprior.flows import MarginalMap, dequantized, gaussian_to
from mmdprior.priors import (
    Affine,
    Ball,
    Bernoulli,
    Beta,
    Circle,
    Corners,
    Correlated,
    FromCallable,
    Gaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Laplace,
    Logistic,
    Product,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Uniform,
)

G = torch.linspace(-5, 5, 41, dtype=torch.float64)[:, None]


def scipy_map(distribution, g):
    """F^-1(Phi(g)) with the tail probabilities of the side of g."""
    return np.where(g > 0, distribution.isf(stats.norm.sf(g)), distribution.ppf(stats.norm.cdf(g)))


@pytest.mark.parametrize(
    ("prior", "distribution", "end"),
    [
        (Uniform(1, low=2.0, high=5.0), stats.uniform(2, 3), 2.5),
        (Laplace(1, loc=1.0, scale=2.0), stats.laplace(1, 2), 5.0),
        (Logistic(1, scale=0.5), stats.logistic(0, 0.5), 5.0),
        (StudentT(1, df=3.0), stats.t(3), 5.0),
        (StudentT(1, df=1.0), stats.cauchy(), 5.0),
        (Beta(1, 2.0, 3.0), stats.beta(2, 3), 2.0),
        (GeneralizedGaussian(1, 8.0), stats.gennorm(8), 5.0),
        (GeneralizedGaussian(1, 0.5), stats.gennorm(0.5), 5.0),
    ],
)
def test_marginal_maps_agree_with_scipy(prior, distribution, end):
    g = G[G[:, 0].abs() <= end]
    z = gaussian_to(prior)(g).numpy()
    assert z == pytest.approx(scipy_map(distribution, g.numpy()), rel=1e-9, abs=1e-12)


def test_mixture_per_dimension_agrees_with_scipy():
    prior = SpikeAndSlab(1, probability=0.3, slab=2.0, spike=0.1)
    z = gaussian_to(prior)(G).numpy()
    cdf = 0.3 * stats.norm.cdf(z / 2) + 0.7 * stats.norm.cdf(z / 0.1)
    assert cdf == pytest.approx(stats.norm.cdf(G.numpy()), rel=1e-8)


DENSITIES = {
    "uniform": Uniform(2, low=[0.0, -1.0]),
    "laplace": Laplace(3, loc=1.0),
    "student": StudentT(2, df=4.0),
    "ring": GaussianMixture.ring(6),
    "mixture": GaussianMixture([[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]], [0.3, 0.6], [0.25, 0.75]),
    "ball": Ball(3, radius=2.0),
    "copula": Correlated(Laplace(3), 0.6),
    "groups": GroupSparse(4, 2, noise=0.3),
    "affine": Affine(Laplace(2), [[1.0, 0.5], [0.0, 2.0]], shift=1.0),
    "product": Product([GaussianMixture.ring(3), Uniform(1)], [[0, 2], [1]]),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_log_det_is_the_ratio_of_densities(name):
    """log |det dz/dg| = log N(g; 0, I) - log p(z), where the map is exact."""
    prior = DENSITIES[name].double()
    g = torch.randn(200, prior.dim, dtype=torch.float64)
    g = g[(g.abs() < 1.5).all(1)]
    z, log_det = gaussian_to(prior).double().forward_and_log_det(g)
    expected = Gaussian(prior.dim).double().log_prob(g) - prior.log_prob(z)
    assert torch.allclose(log_det, expected, atol=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
def test_gaussian_draws_become_prior_draws(name):
    """Two-sample Kolmogorov-Smirnov tests of every dimension and of a random projection, level 1e-5."""
    prior = DENSITIES[name].float()
    generator = torch.Generator().manual_seed(0)
    z = gaussian_to(prior)(torch.randn(4000, prior.dim, generator=generator))
    draws = prior.sample(4000, generator)
    direction = torch.randn(prior.dim, generator=generator)
    pairs = [*zip(z.T, draws.T, strict=True), (z @ direction, draws @ direction)]
    assert min(stats.ks_2samp(a.numpy(), b.numpy()).pvalue for a, b in pairs) > 1e-5


@pytest.mark.parametrize("name", PRIORS)
def test_every_family_has_a_map_or_a_reason(name):
    """Atoms are named; other families have an exact map, or are left to a fit."""
    prior = PRIORS[name]()

    def fit(block):
        return MarginalMap(Gaussian(block.dim).marginals())

    if name in ATOMIC and not isinstance(prior, Samples):  # stored codes are a sample of a density
        with pytest.raises(InputError, match="positive probability"):
            gaussian_to(prior, fit)
    assert gaussian_to(dequantized(prior), fit).dim == prior.dim


@pytest.mark.parametrize(
    "prior",
    [
        Bernoulli(2),
        Grid(3, 4),
        Corners(2),
        SpikeAndSlab(2),
        GroupSparse(4, 2),
        Correlated(Grid(2, 3), 0.5),
        Product([Gaussian(1), Bernoulli(2)]),
        Samples(torch.randint(0, 3, (500, 2)).float()),
        FromCallable(lambda n, dim: torch.randint(0, 9, (n, dim)).float(), 2),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_atoms_are_rejected_in_one_line(prior):
    with pytest.raises(InputError, match="^prior: .* set dequantize") as error:
        gaussian_to(prior, lambda block: 1 / 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("prior", "atoms"),
    [
        (Bernoulli(3, p=[0.2, 0.5, 0.9]), [0.0, 1.0]),
        (Grid(2, 5), [-0.8, -0.4, 0.0, 0.4, 0.8]),
        (Corners(2, scale=2.0), [-2.0, 2.0]),
        (Bernoulli(1, p=0.3, low=-1.0, high=4.0), [-1.0, 4.0]),
    ],
)
def test_rounding_dequantized_draws_gives_the_prior(prior, atoms):
    values = torch.tensor(atoms)
    z = gaussian_to(dequantized(prior))(torch.randn(20_000, prior.dim))
    nearest = values[(z[..., None] - values).abs().argmin(-1)]
    for column, draws in zip(nearest.T, prior.sample(20_000).T, strict=True):
        for atom in atoms:
            assert (
                abs(float((column == atom).float().mean() - (draws - atom).abs().lt(1e-6).float().mean()))
                < 0.02
            )


def test_a_grid_becomes_its_box():
    draws = dequantized(Grid(2, 4, low=-1.0, high=3.0)).sample(5000)
    assert -1 <= draws.min() < -0.99
    assert 2.99 < draws.max() <= 3


@pytest.mark.parametrize("prior", [Sphere(3), Circle(noise=0.0), SwissRoll(3, noise=0.0)])
def test_surfaces_get_noise(prior):
    draws, hazy = prior.sample(4000), dequantized(prior)
    difference = hazy.sample(4000).var(0) - draws.var(0)
    assert type(hazy).__name__ == "Hazy"
    assert 0 < hazy.noise < 0.1 * math.sqrt(float(draws.var()))
    assert difference.abs().max() < 0.1


def test_priors_with_a_density_are_not_changed():
    for prior in (Uniform(2), GaussianMixture.ring(4), Circle(), Product([Gaussian(1), Laplace(2)])):
        assert type(dequantized(prior)) is type(prior)
