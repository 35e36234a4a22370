"""Draws and densities against closed forms and scipy, family by family."""

import math

import numpy as np
import pytest
import torch
from helpers.prior_catalogue import (
    ATOMIC,
    COVARIANCE,
    FACTOR,
    MATRIX,
    MEANS,
    PRIORS,
    WITH_DENSITY,
    WITH_MOMENTS,
    draw,
)
from scipy import stats

from mmdprior import InputError
from mmdprior.priors import (
    Affine,
    Ball,
    Beta,
    Chain,
    Circle,
    Corners,
    Correlated,
    FromDistribution,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Laplace,
    Logistic,
    LowRankGaussian,
    Pinwheel,
    Product,
    Rotation,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Tree,
    Uniform,
)

HOLLOW = {"circle", "ball", "product", "affine", "group_sparse", "spike_and_slab"}
HOLLOW |= {"factors", "per_class_bounded"}
CONVEX = [name for name in WITH_DENSITY if "mixture" not in name and name not in HOLLOW]
"""Priors with density throughout a box around their medians."""


@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_moments_match_samples(name):
    prior = PRIORS[name]().double()
    n = 200_000
    z, moments = draw(prior, n), prior.moments()
    deviation = z - z.mean(0)
    assert ((z.mean(0) - moments.mean).abs() < 5 * z.std(0) / n**0.5).all()
    products = deviation[:, :, None] * deviation[:, None, :]
    assert ((products.mean(0) - moments.covariance).abs() < 5 * products.std(0) / n**0.5 + 1e-12).all()


@pytest.mark.parametrize("name", ATOMIC)
def test_atoms_have_their_probabilities(name):
    """Between and at the atoms the empirical cdf is the marginal's, within five standard errors."""
    prior, n = PRIORS[name](), 50_000
    z = draw(prior, n)
    for i, marginal in enumerate(prior.marginals()):
        for x in torch.cat([z[:20, i], z[:5, i] + 0.01]):
            expected = float(marginal.cdf(x))
            share = float((z[:, i] <= x).float().mean())
            assert abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / n) + 1e-6


@pytest.mark.parametrize("name", CONVEX)
def test_density_matches_the_draws(name):
    """E_p[q / p] = 1 for a q inside the support of p: a box in the middle of the samples."""
    prior = PRIORS[name]().double()
    n = 50_000
    z = draw(prior, n)
    low, high = z.quantile(0.2, dim=0), z.quantile(0.8, dim=0)
    inside = ((z > low) & (z < high)).all(1)
    weight = torch.exp(-prior.log_prob(z)).where(inside, 0.0) / (high - low).prod()
    assert abs(weight.mean() - 1) < 6 * weight.std() / n**0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianMixture.ring(5, radius=2.0, scale=0.2),
        lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5)]),
        lambda: Product([Gaussian(1), Laplace(1)], dims=[[1], [0]]),
        lambda: Circle(noise=0.2),
        lambda: Ball(2, radius=2.0),
        lambda: GroupSparse(2, 2, 0.4, scale=1.5, noise=0.3),
        lambda: SpikeAndSlab(2, 0.3, slab=1.5, spike=0.2),
        lambda: Correlated(Product([StudentT(1, 8.0), Beta(1, 2.0, 3.0)]), 0.7),
        lambda: Rotation(Uniform(2), seed=2),
        lambda: FullGaussian([[1.0, 0.8], [0.8, 1.5]]),
    ],
)
def test_density_in_the_plane_integrates_to_one_and_predicts_counts(make):
    """Riemann sums over a grid of cells: the total, and the fraction of draws in each quadrant."""
    prior = make().double()
    side = torch.linspace(-10, 10, 400, dtype=torch.float64)
    points = torch.cartesian_prod(side, side)
    mass = prior.log_prob(points).exp() * (side[1] - side[0]) ** 2
    assert abs(mass.sum() - 1) < 5e-3
    z = draw(prior, 100_000)
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        at = torch.tensor(signs, dtype=torch.float64)
        expected = float(mass[(points * at > 0.3).all(1)].sum())
        share = float((z * at > 0.3).all(1).double().mean())
        assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 100_000) + 5e-3


def _columns(*families):
    return lambda z: sum(family.logpdf(z[:, i]) for i, family in enumerate(families))


LOG_DENSITIES = {
    "gaussian": _columns(stats.norm(0, 1), stats.norm(1, 0.5), stats.norm(-1, 2)),
    "laplace": _columns(stats.laplace(0, 1), stats.laplace(1, 0.5), stats.laplace(-1, 2)),
    "logistic": _columns(stats.logistic(0.5, 0.5), stats.logistic(0.5, 2)),
    "student_t": _columns(stats.t(6, 1, 1), stats.t(9.5, 1, 0.5), stats.t(30, 1, 2)),
    "beta": _columns(stats.beta(0.5, 0.5, -1, 2), stats.beta(2, 1, -1, 3), stats.beta(5, 2, -1, 4)),
    "full_gaussian": stats.multivariate_normal([1, 0, -1], COVARIANCE).logpdf,
    "low_rank_gaussian": stats.multivariate_normal(
        [0.5] * 4, np.array(FACTOR) @ np.array(FACTOR).T + np.diag([0.25, 1, 0.09, 0.49])
    ).logpdf,
    "affine_gaussian": stats.multivariate_normal(
        np.array(MATRIX) @ np.array([0, 0, 0]) + 0.5, np.array(MATRIX) @ COVARIANCE @ np.array(MATRIX).T
    ).logpdf,
    "mixture": lambda z: np.log(
        0.25 * stats.multivariate_normal(MEANS[0], 0.09).pdf(z)
        + 0.75 * stats.multivariate_normal(MEANS[1], 0.36).pdf(z)
    ),
    "gaussian_chain": stats.multivariate_normal(
        np.zeros(4), 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    ).logpdf,
}


@pytest.mark.parametrize("name", LOG_DENSITIES)
def test_log_prob_against_scipy(name):
    prior = PRIORS[name]().double()
    z = draw(prior, 50)
    np.testing.assert_allclose(prior.log_prob(z), LOG_DENSITIES[name](z.numpy()), rtol=3e-5, atol=3e-5)


def test_log_prob_in_float64_is_exact_where_parameters_are():
    z = torch.randn(50, 2, dtype=torch.float64)
    for prior, family in (
        (StudentT(2, 3.0, 0.25, 0.5), stats.t(3, 0.25, 0.5)),
        (GeneralizedGaussian(2, 1.5, 0.25, 0.5), stats.gennorm(1.5, 0.25, 0.5)),
        (Logistic(2, 0.25, 0.5), stats.logistic(0.25, 0.5)),
        (Laplace(2, 0.25, 0.5), stats.laplace(0.25, 0.5)),
        (Beta(2, 1.5, 2.5, -8.0, 8.0), stats.beta(1.5, 2.5, -8, 16)),
    ):
        expected = family.logpdf(z.numpy()).sum(1)
        np.testing.assert_allclose(prior.double().log_prob(z), expected, rtol=1e-12)
    assert Uniform(2).log_prob(torch.tensor([[0.0, 0.5], [0.0, 1.5]])).tolist() == [
        pytest.approx(-2 * np.log(2)),
        -np.inf,
    ]
    assert Beta(1, 2.0, 2.0).log_prob(torch.tensor([[1.5]])).tolist() == [-np.inf]


def test_gradient_of_a_copula_density_matches_finite_differences():
    prior = PRIORS["correlated_shaped"]().double()
    z = draw(prior, 20).requires_grad_()
    prior.log_prob(z).sum().backward()
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-6
        with torch.no_grad():
            there, back = z * (1 + step), z * (1 - step)
            slope = (prior.log_prob(there) - prior.log_prob(back)) / (2e-6 * z[:, i])
        torch.testing.assert_close(z.grad[:, i], slope, rtol=1e-4, atol=1e-4)


def test_copula_over_normal_marginals_is_the_gaussian():
    scale = torch.tensor([1.0, 2.0, 0.5])
    correlation = torch.tensor([[1.0, 0.7, -0.4], [0.7, 1.0, 0.1], [-0.4, 0.1, 1.0]])
    copula = Correlated(Gaussian(3, 0.5, scale.tolist()), correlation).double()
    full = FullGaussian(scale[:, None] * correlation * scale, mean=0.5).double()
    z = draw(copula, 50)
    torch.testing.assert_close(copula.log_prob(z), full.log_prob(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(copula.moments().covariance, full.covariance, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["correlated_mixed", "correlated_shaped", "correlated_uniform", "chain"])
def test_copula_has_the_rank_correlations_of_its_matrix(name):
    """Kendall's tau is 2/pi asin(R_ij); its standard error is at most 2/3 / sqrt(n) or so."""
    prior = PRIORS[name]().double()
    z = draw(prior, 4000).numpy()
    for i in range(prior.dim):
        for j in range(i):
            tau = stats.kendalltau(z[:, i], z[:, j]).statistic
            assert abs(tau - 2 / np.pi * np.arcsin(float(prior.correlation[i, j]))) < 5 * 0.67 / 4000**0.5


def test_chain_and_tree_multiply_coefficients_along_paths():
    chain = Chain([0.9, -0.5, 0.4], dim=4).correlation
    assert float(chain[0, 3]) == pytest.approx(-0.18)
    assert float(chain[3, 1]) == pytest.approx(-0.2)
    tree = Tree([-1, 0, 0, 1, -1], [0.0, 0.5, 0.6, 0.7, 0.0]).correlation
    assert float(tree[3, 2]) == pytest.approx(0.7 * 0.5 * 0.6)
    assert float(tree[4, :4].abs().max()) == 0.0
    torch.testing.assert_close(Chain(0.5, dim=3).correlation, Tree([-1, 0, 1], 0.5).correlation)


@pytest.mark.parametrize("dim", [1, 2, 3, 128])
def test_sphere_and_ball_keep_their_radius(dim):
    norms = draw(Sphere(dim, 2.5), 2000).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 2.5))
    ball = Ball(dim, 2.5)
    z = draw(ball, 2000)
    assert stats.kstest((z.norm(dim=1).double().numpy() / 2.5) ** dim, "uniform").pvalue > 1e-4
    volume = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1) * 2.5**dim
    expected = torch.full((2000,), -math.log(volume))
    torch.testing.assert_close(ball.log_prob(z), expected)


def test_atoms_have_the_documented_positions():
    """Levels have a spacing of 2 / L on [-1, 1], and rounding U[-1, 1] costs (2 / L)^2 / 12."""
    z = draw(Grid(1, levels=8), 2000)
    levels = torch.linspace(-1, 1, 9)[:-1] + 1 / 8
    assert torch.equal(z.unique(), levels)
    u = draw(Uniform(1).double(), 200_000)
    error = (u - levels.double()).abs().amin(1).square()
    assert abs(error.mean() - 0.25**2 / 12) < 5 * error.std() / 200_000**0.5
    assert set(draw(Corners(1, 2.0), 100).flatten().tolist()) == {-2.0, 2.0}
    counts = np.bincount(((draw(Grid(1, 6), 6000).flatten() + 1) * 3).long().numpy(), minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_dimensions_of_a_group_are_active_together():
    on = draw(GroupSparse(6, 3, 0.3), 20_000) != 0
    groups = on.unflatten(1, (2, 3))
    assert (groups.all(2) == groups.any(2)).all()
    assert abs(on.float().mean() - 0.3) < 0.02
    both = (groups[:, 0, 0] & groups[:, 1, 0]).float().mean()
    assert abs(both - 0.09) < 0.015
    spikes = draw(SpikeAndSlab(3, 0.25, slab=2.0), 20_000)
    assert abs((spikes != 0).float().mean() - 0.25) < 0.02


def test_layouts_place_the_means():
    simplex = GaussianMixture.simplex(5, radius=3.0).means
    assert simplex.shape == (6, 5)
    torch.testing.assert_close(simplex.norm(dim=1), torch.full((6,), 3.0))
    distances = torch.pdist(simplex)
    torch.testing.assert_close(distances, distances[:1].expand(15))
    torch.testing.assert_close(simplex.mean(0), torch.zeros(5), atol=1e-6, rtol=0)
    ring = GaussianMixture.ring(6, radius=2.0, dim=3).means
    torch.testing.assert_close((ring - ring.roll(1, 0)).norm(dim=1), torch.full((6,), 2.0))
    assert ring[:, 2].abs().max() == 0
    assert GaussianMixture.grid(3, spacing=2.0, dim=2).means[:, 1].tolist() == [-2.0, 0.0, 2.0] * 3
    assert GaussianMixture.grid(2, dim=1).means.shape == (2, 1)
    assert len(GaussianMixture.hypercube(12, 0.5).means.unique(dim=0)) == 4096


def test_manifolds_have_a_variance_of_about_one():
    for prior in (SwissRoll(), SwissRoll(3), Pinwheel(), Circle(), PRIORS["two_moons"]()):
        covariance = prior.moments().covariance
        assert 0.99 < covariance.diagonal().mean() < 1.02
        assert covariance.diagonal().min() > 0.4


def test_affine_keeps_the_families_of_the_base_if_it_only_rescales():
    signed = PRIORS["affine_signed"]()
    assert signed.independent
    assert not PRIORS["affine_wide"]().independent
    flipped = Affine(PRIORS["bernoulli"](), [[-1.0, 0.0], [0.0, 2.0]]).marginals()[0]
    assert flipped.atoms.tolist() == [-2.0, 1.0]
    assert float(flipped.cdf(torch.tensor(-2.0))) == pytest.approx(0.2)


def test_rotations_are_orthogonal_repeatable_and_uniform():
    rotation = Rotation(Laplace(6), seed=4).matrix
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(6), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(rotation, Rotation(Gaussian(6), seed=4).matrix)
    assert not torch.equal(rotation, Rotation(Gaussian(6), seed=5).matrix)
    first = torch.stack([Rotation(Gaussian(2), seed=i).matrix[0] for i in range(500)])
    angles = torch.atan2(first[:, 1], first[:, 0]).double().numpy() / (2 * np.pi) + 0.5
    assert stats.kstest(angles, "uniform").pvalue > 1e-4


def test_blocks_fill_their_dimensions():
    prior = Product([Uniform(2, 0.0, [1.0, 2.0]), Gaussian(1, mean=50.0)], dims=[[2, 0], [1]])
    z = draw(prior, 1000)
    assert z[:, 2].max() <= 1
    assert 1 < z[:, 0].max() <= 2
    assert z[:, 1].min() > 40
    assert prior.moments().mean.tolist() == [1.0, 50.0, 0.5]


def test_heavy_tails_stay_finite():
    for prior in (StudentT(2, 0.01), GeneralizedGaussian(2, 0.02), Correlated(StudentT(2, 0.02), 0.3)):
        assert torch.isfinite(draw(prior, 20_000)).all()


def test_moments_of_torch_distributions_are_right_or_refused():
    corners = torch.distributions.MultivariateNormal(torch.tensor([[3.0, 3.0], [-3.0, -3.0]]), torch.eye(2))
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)), corners)
    for unknown in (
        mixture,
        torch.distributions.Dirichlet(torch.ones(3)),
        torch.distributions.Cauchy(torch.zeros(2), 1.0),
    ):
        with pytest.raises(InputError, match="no closed-form moments"):
            FromDistribution(unknown).moments()
    correlated = torch.distributions.MultivariateNormal(
        torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    )
    assert FromDistribution(correlated).moments().covariance.tolist() == [[2.0, 1.0], [1.0, 2.0]]
    repeated = FromDistribution(torch.distributions.Laplace(0.0, 1.0), dim=3)
    assert torch.equal(repeated.moments().covariance, 2 * torch.eye(3))


def test_samples_draws_rows_uniformly():
    points = torch.arange(6.0)[:, None].repeat(1, 2)
    counts = np.bincount(draw(Samples(points), 6000)[:, 0].long().numpy(), minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert "points" not in Samples(points).state_dict()


def test_low_rank_gaussian_serves_many_dimensions():
    """A covariance of 20,000^2 floats would need 1.6 GB."""
    prior = LowRankGaussian(torch.ones(20_000, 1) * 0.01)
    z = draw(prior, 4)
    assert torch.isfinite(prior.log_prob(z)).all()
    assert len(prior.marginals()) == 20_000
