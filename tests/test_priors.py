"""One contract for every prior; densities and moments against scipy and sampling."""

import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import InputError
from mmdprior.priors import (
    FromCallable,
    FromDistribution,
    Gaussian,
    GaussianMixture,
    Product,
    Samples,
    Uniform,
    as_prior,
)


def two_sided(n, dim):
    return torch.randn(n, dim).abs() * torch.sign(torch.rand(n, dim) - 0.5)


def exponential(n):
    return torch.empty(n, 3).exponential_()


MEANS = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]

PRIORS = {
    "gaussian": lambda: Gaussian(3, mean=[0.0, 1.0, -1.0], scale=[1.0, 0.5, 2.0]),
    "uniform": lambda: Uniform(3, low=[-1.0, 0.0, 2.0], high=[1.0, 0.5, 5.0]),
    "mixture": lambda: GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75]),
    "product": lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5), Gaussian(2)]),
    "samples": lambda: Samples(torch.randn(50, 4, generator=torch.Generator().manual_seed(1))),
    "callable_n_dim": lambda: FromCallable(two_sided, 3),
    "callable_n": lambda: FromCallable(exponential, 3),
    "distribution": lambda: FromDistribution(torch.distributions.Laplace(torch.zeros(3), torch.ones(3))),
}
WITH_MOMENTS = [name for name in PRIORS if not name.startswith("callable")]
WITH_DENSITY = ["gaussian", "uniform", "mixture", "product", "distribution"]


def draw(prior, n, seed=0):
    return prior.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PRIORS)
class TestContract:
    def test_shape_dtype_and_device(self, name):
        prior = PRIORS[name]()
        z = prior.sample(7)
        assert z.shape == (7, prior.dim)
        assert z.dtype == torch.float32 == prior.dtype
        assert z.device == prior.device
        assert not z.requires_grad
        assert prior.sample(0).shape == (0, prior.dim)

    def test_double_samples_in_double(self, name):
        assert PRIORS[name]().double().sample(3).dtype == torch.float64

    def test_generator_seeds_the_draw(self, name):
        prior = PRIORS[name]()
        assert torch.equal(draw(prior, 20), draw(prior, 20))
        assert not torch.equal(draw(prior, 20), draw(prior, 20, seed=1))

    def test_generator_advances(self, name):
        prior, generator = PRIORS[name](), torch.Generator().manual_seed(0)
        assert not torch.equal(prior.sample(20, generator), prior.sample(20, generator))

    def test_seeded_draw_leaves_the_global_stream_alone(self, name):
        prior, before = PRIORS[name](), torch.get_rng_state()
        draw(prior, 5)
        assert torch.equal(torch.get_rng_state(), before)

    def test_global_seed_is_used_without_a_generator(self, name):
        prior = PRIORS[name]()
        torch.manual_seed(5)
        first = prior.sample(9)
        torch.manual_seed(5)
        assert torch.equal(prior.sample(9), first)

    def test_pickles(self, name):
        prior = PRIORS[name]()
        assert torch.equal(draw(pickle.loads(pickle.dumps(prior)), 6), draw(prior, 6))


@pytest.mark.parametrize("name", WITH_MOMENTS)
def test_moments_match_samples(name):
    prior = PRIORS[name]().double()
    n = 200_000
    z, moments = draw(prior, n), prior.moments()
    deviation = z - z.mean(0)
    assert ((z.mean(0) - moments.mean).abs() < 5 * z.std(0) / n**0.5).all()
    products = deviation[:, :, None] * deviation[:, None, :]
    assert ((products.mean(0) - moments.covariance).abs() < 5 * products.std(0) / n**0.5 + 1e-12).all()


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_density_is_that_of_the_samples(name):
    """E_p[q / p] = 1 for a q inside the support of p, here the samples' own box by importance."""
    prior = PRIORS[name]().double()
    z = draw(prior, 100_000)
    low, high = z.quantile(0.05, dim=0), z.quantile(0.95, dim=0)
    inside = ((z > low) & (z < high)).all(1)
    weight = inside / prior.log_prob(z).exp() / (high - low).prod()
    assert abs(weight.mean() - 1) < 6 * weight.std() / 100_000**0.5


def test_log_prob_against_scipy():
    z = torch.randn(40, 3, dtype=torch.float64)
    gaussian = PRIORS["gaussian"]().double()
    expected = stats.norm(gaussian.mean.numpy(), gaussian.scale.numpy()).logpdf(z.numpy()).sum(1)
    np.testing.assert_allclose(gaussian.log_prob(z), expected, rtol=1e-12)
    mixture = PRIORS["mixture"]().double()
    weights, means, scales = mixture.components()
    parts = [
        float(w) * stats.norm(m, s).pdf(z.numpy()).prod(1)
        for w, m, s in zip(weights, means, scales, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_prob(z), np.log(sum(parts)), rtol=1e-10)
    assert Uniform(2).log_prob(torch.tensor([[0.0, 0.5], [0.0, 1.5]])).tolist() == [
        pytest.approx(-2 * np.log(2)),
        -np.inf,
    ]


@pytest.mark.parametrize("seed", range(10))
def test_marginals_pass_kolmogorov_smirnov(seed):
    z = draw(Product([Gaussian(1, 1.0, 2.0), Uniform(1, 0.0, 3.0)]), 5000, seed).numpy()
    assert stats.kstest(z[:, 0], stats.norm(1, 2).cdf).pvalue > 1e-4
    assert stats.kstest(z[:, 1], stats.uniform(0, 3).cdf).pvalue > 1e-4
    x = draw(PRIORS["mixture"](), 5000, seed)[:, 0].numpy()

    def cdf(t):
        return 0.25 * stats.norm(-2, 0.3).cdf(t) + 0.75 * stats.norm(1, 0.6).cdf(t)

    assert stats.kstest(x, cdf).pvalue > 1e-4


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


def test_as_prior_takes_whatever_can_be_sampled():
    assert isinstance(as_prior(torch.randn(5, 2)), Samples)
    assert isinstance(as_prior(torch.distributions.Normal(torch.zeros(2), 1.0)), FromDistribution)
    assert isinstance(as_prior(exponential, 3), FromCallable)
    assert as_prior(torch.randn, 4).sample(3).shape == (3, 4)
    prior = Gaussian(2)
    assert as_prior(prior) is prior


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0), "dim: 0"),
        (lambda: Gaussian(2, scale=0.0), "scale: 0.0"),
        (lambda: Gaussian(2, scale=[1.0, 1.0, 1.0]), r"scale: shape \(3,\)"),
        (lambda: Gaussian(2, mean=float("nan")), "mean: nan"),
        (lambda: Uniform(2, 1.0, 1.0), "high: 1.0"),
        (lambda: GaussianMixture([[0.0], [1.0]], 1.0, [0.5, 0.6]), r"weights: .*sum 1\.1"),
        (lambda: GaussianMixture([[0.0], [1.0]], 1.0, [1.5, -0.5]), "weights"),
        (lambda: GaussianMixture([[0.0], [1.0]], -1.0), "scale: -1.0"),
        (lambda: GaussianMixture([[0.0], [1.0]], [1.0, 1.0, 1.0]), "scale: shape"),
        (lambda: GaussianMixture(torch.zeros(3)), "means: shape"),
        (lambda: Product([]), "blocks"),
        (lambda: Samples(torch.zeros(4)), "points: shape"),
        (lambda: Samples(torch.tensor([[float("nan"), 1.0]])), "points: NaN"),
        (lambda: FromCallable(lambda n: torch.zeros(n, 2), 3), r"shape \(8, 2\) returned"),
        (lambda: FromCallable(lambda n: torch.zeros(n, 3, dtype=torch.long), 3), "int64 returned"),
        (lambda: FromCallable(lambda n: torch.full((n, 3), float("nan")), 3), "NaN"),
        (lambda: as_prior(exponential), "FromCallable"),
        (lambda: as_prior("gaussian"), "prior: str|Type-check"),
        (lambda: FromDistribution(torch.distributions.Normal(0.0, 1.0)), "distribution"),
        (lambda: FromCallable(exponential, 3).log_prob(torch.zeros(1, 3)), "no log_prob"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
