"""Every prior satisfies the contract, and bad arguments give one-line errors."""

import pickle

import pytest
import torch
from helpers.prior_catalogue import (
    ATOMIC,
    COVARIANCE,
    PRIORS,
    WITH_DENSITY,
    WITH_MARGINALS,
    WITH_MOMENTS,
    draw,
    exponential,
    two_sided,
)

from mmdprior import InputError
from mmdprior.priors import (
    Affine,
    Bernoulli,
    Beta,
    Chain,
    Circle,
    Corners,
    Correlated,
    FromCallable,
    FromDistribution,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    GeneralizedGaussian,
    Grid,
    GroupSparse,
    Laplace,
    LowRankGaussian,
    Pinwheel,
    Product,
    Rotation,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Transform,
    Tree,
    Uniform,
    as_prior,
)
from mmdprior.testing import check_prior


@pytest.mark.parametrize("name", PRIORS)
class TestContract:
    def test_satisfies_the_contract(self, name):
        """Draws, random numbers and every closed form against 20,000 draws."""
        check_prior(PRIORS[name]())

    def test_has_no_parameters(self, name):
        assert not list(PRIORS[name]().parameters())

    def test_pickled_copy_gives_equal_draws(self, name):
        prior = PRIORS[name]()
        assert torch.equal(draw(pickle.loads(pickle.dumps(prior)), 6), draw(prior, 6))

    def test_autocast_does_not_change_draws(self, name):
        prior = PRIORS[name]()
        with torch.autocast("cpu", torch.bfloat16):
            z = draw(prior, 6)
        assert torch.equal(z, draw(prior, 6))

    def test_nests_in_products_and_rotations(self, name):
        prior = PRIORS[name]()
        nested = Rotation(Product([prior, Gaussian(1)]))
        assert draw(nested, 5).shape == (5, prior.dim + 1)
        if name in WITH_MOMENTS:
            inner = prior.moments().covariance.trace() + 1
            torch.testing.assert_close(nested.moments().covariance.trace(), inner)
        if name in WITH_DENSITY:
            x = draw(Product([prior, Gaussian(1)]).double(), 5)
            nested = nested.double()
            expected = prior.double().log_prob(x[:, :-1]) + Gaussian(1).log_prob(x[:, -1:])
            torch.testing.assert_close(nested.log_prob(x @ nested.matrix.T), expected, rtol=1e-6, atol=1e-5)

    @pytest.mark.gpu
    def test_cuda_draws_equal_cpu_draws_for_a_cpu_generator(self, name):
        prior = PRIORS[name]()
        expected = draw(prior, 30)
        moved = prior.to("cuda")
        z = draw(moved, 30)
        assert z.device.type == "cuda"
        torch.testing.assert_close(z.cpu(), expected, rtol=1e-4, atol=1e-4)
        there = moved.sample(30, torch.Generator("cuda").manual_seed(0))
        assert there.shape == expected.shape
        if name in WITH_DENSITY:
            before = PRIORS[name]().log_prob(expected)
            torch.testing.assert_close(moved.log_prob(expected.cuda()).cpu(), before, rtol=1e-3, atol=1e-3)
        if name in WITH_MARGINALS:
            for marginal in moved.marginals():
                u = torch.linspace(0.1, 0.9, 7, device="cuda")
                assert marginal.cdf(marginal.quantile(u)).device.type == "cuda"
                assert marginal.characteristic(u).device.type == "cuda"


def test_closed_forms_exist_where_expected():
    without_moments = {"heavy_student_t", "transform", "callable_n_dim", "callable_n", "chain"}
    without_moments |= {"correlated_mixed", "correlated_shaped", "correlated_atoms"}
    assert set(PRIORS) - set(WITH_MOMENTS) == without_moments
    singular = {"sphere", "transform", "callable_n_dim", "callable_n", "affine_wide"}
    singular |= {"swiss_roll", "swiss_sheet", "two_moons", "pinwheel"}
    assert set(PRIORS) - set(WITH_DENSITY) == singular | set(ATOMIC)
    without_marginals = {"affine", "affine_wide", "rotation", "transform", "circle", "distribution"}
    without_marginals |= {
        "per_class",
        "per_class_bounded",
        "callable_n_dim",
        "callable_n",
        "swiss_roll",
        "swiss_sheet",
        "two_moons",
        "pinwheel",
    }
    assert set(PRIORS) - set(WITH_MARGINALS) == without_marginals


def test_as_prior_accepts_everything_that_can_be_sampled():
    assert isinstance(as_prior(torch.randn(5, 2)), Samples)
    assert isinstance(as_prior(torch.distributions.Normal(torch.zeros(2), 1.0)), FromDistribution)
    assert isinstance(as_prior(exponential, 3), FromCallable)
    assert as_prior(exponential).dim == as_prior(two_sided, 3).dim == 3
    assert as_prior(torch.randn, 4).sample(3).shape == (3, 4)
    prior = Gaussian(2)
    assert as_prior(prior) is prior


INDEFINITE = [[1.0, 2.0], [2.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0), "dim: 0"),
        (lambda: Gaussian(2, scale=0.0), "scale: 0.0"),
        (lambda: Gaussian(2, scale=[1.0, 1.0, 1.0]), r"scale: shape \(3,\)"),
        (lambda: Gaussian(2, mean=float("nan")), "mean: nan"),
        (lambda: Uniform(2, 1.0, 1.0), "high: 1.0"),
        (lambda: Laplace(2, scale=-1.0), "scale: -1.0"),
        (lambda: StudentT(2, df=0.0), "df: 0.0"),
        (lambda: StudentT(2, df=2.0).moments(), "StudentT: the variance is infinite"),
        (lambda: Beta(2, 0.0, 1.0), "alpha: 0.0"),
        (lambda: Beta(2, 1.0, 1.0, low=2.0), "high: 1.0"),
        (lambda: GeneralizedGaussian(2, shape=-1.0), "shape: -1.0"),
        (lambda: Grid(2, levels=0), "levels: 0"),
        (lambda: Grid(2, levels=4).log_prob(torch.zeros(1, 2)), "Grid has no log_prob"),
        (lambda: Corners(2, scale=0.0), "scale: 0.0"),
        (lambda: Bernoulli(2, p=1.5), "p: 1.5"),
        (lambda: FullGaussian(INDEFINITE), "covariance: not positive definite, .* eigenvalue is -1;"),
        (lambda: FullGaussian([[1.0, 0.5], [0.2, 1.0]]), r"covariance: not symmetric, entry \(0, 1\) is 0.5"),
        (lambda: FullGaussian([[1.0, 0.5]]), r"covariance: shape \(1, 2\)"),
        (lambda: LowRankGaussian([[1.0], [1.0]], scale=0.0), "scale: 0.0"),
        (lambda: LowRankGaussian(torch.ones(2)), r"factor: shape \(2,\)"),
        (lambda: GaussianMixture([[0.0], [1.0]], 1.0, [0.5, 0.6]), r"weights: .*sum 1\.1"),
        (lambda: GaussianMixture([[0.0], [1.0]], 1.0, [1.5, -0.5]), "weights"),
        (lambda: GaussianMixture([[0.0], [1.0]], -1.0), "scale: -1.0"),
        (lambda: GaussianMixture([[0.0], [1.0]], [1.0, 1.0, 1.0]), "scale: shape"),
        (lambda: GaussianMixture(torch.zeros(3)), "means: shape"),
        (lambda: GaussianMixture.ring(dim=1), "dim: 1"),
        (lambda: GaussianMixture.ring(radius=-1.0), "radius: -1.0"),
        (lambda: GaussianMixture.grid(10, dim=6), "dim: 6 received, which makes 10"),
        (lambda: GaussianMixture.hypercube(13), "dim: 13 received, which makes 2"),
        (lambda: Sphere(2, radius=0.0), "radius: 0.0"),
        (lambda: Sphere(3).log_prob(torch.zeros(1, 3)), "Sphere has no log_prob"),
        (lambda: SpikeAndSlab(2, 1.2), "probability: 1.2"),
        (lambda: SpikeAndSlab(2, slab=0.0), "slab: 0.0"),
        (lambda: GroupSparse(5, 2), "group_size: 2"),
        (lambda: GroupSparse(4, 2, noise=-0.1), "noise: -0.1"),
        (lambda: Correlated(Gaussian(3), -0.6), "correlation: not positive definite, .* eigenvalue is -0.2;"),
        (lambda: Correlated(Gaussian(3), COVARIANCE), "correlation: diagonal"),
        (lambda: Correlated(Gaussian(2), COVARIANCE), r"correlation: shape \(3, 3\)"),
        (lambda: Correlated(Rotation(Laplace(2)), 0.5), "Rotation has no closed-form marginals"),
        (lambda: Correlated(Sphere(3), 0.5).log_prob(torch.zeros(1, 3)), "use an independent base"),
        (lambda: Correlated(Laplace(3), 0.5).moments(), "no closed-form moments"),
        (lambda: Chain(1.0, dim=3), "coefficient: 1.0"),
        (lambda: Chain([0.5], dim=3), r"coefficient: shape \(1,\)"),
        (lambda: Chain(0.5), "dim: missing"),
        (lambda: Chain(0.5, Gaussian(2), dim=3), "base: dim 2"),
        (lambda: Tree([-1, 1], 0.5), "parents: 1 received for dimension 1"),
        (lambda: Tree([], 0.5), "parents: an empty list"),
        (lambda: Tree([-1, 0], 0.5, Gaussian(3)), "base: dim 3"),
        (lambda: SwissRoll(4), "dim: 4"),
        (lambda: Pinwheel(2), "arms: 2"),
        (lambda: Circle(noise=-1.0), "noise: -1.0"),
        (lambda: Circle(noise=0.0).log_prob(torch.zeros(1, 2)), "no log_prob"),
        (lambda: Product([]), "blocks"),
        (
            lambda: Product([Gaussian(2), Gaussian(1)], [[0, 1], [1]]),
            "dims: dimension 1 is in blocks",
        ),
        (lambda: Product([Gaussian(2), Gaussian(1)], [[0, 1], [3]]), "dims: 3 .* no block has dimension 2"),
        (lambda: Product([Gaussian(2), Gaussian(1)], [[0], [1]]), "dims: 1 dim.* no block has dimension 2"),
        (lambda: Product([Gaussian(2), Gaussian(1)], [[0, 1, 2]]), "dims: 1 lists"),
        (lambda: Affine(Gaussian(3), [[1.0, 2.0]]), r"matrix: shape \(1, 2\)"),
        (lambda: Affine(Laplace(1), [[1.0], [2.0]]).log_prob(torch.zeros(1, 2)), "must be square"),
        (lambda: Affine(Laplace(1), [[0.0]]).log_prob(torch.zeros(1, 1)), "matrix: singular"),
        (lambda: Transform(Gaussian(2), lambda x: x[0]), r"fn: \(2,\) returned"),
        (lambda: Transform(Gaussian(2), lambda x: x[:4], dim=2), r"shape \(4, 2\) returned"),
        (lambda: Transform(Gaussian(2), lambda x: x.long()), "int64 returned"),
        (lambda: Transform(Gaussian(2), lambda x: x / 0), "NaN or infinity"),
        (lambda: Samples(torch.zeros(4)), "points: shape"),
        (lambda: Samples(torch.tensor([[float("nan"), 1.0]])), "points: NaN"),
        (lambda: FromCallable(lambda n: torch.zeros(n, 2), 3), r"shape \(8, 2\) returned"),
        (lambda: FromCallable(lambda n: torch.zeros(n, 3, dtype=torch.long), 3), "int64 returned"),
        (lambda: FromCallable(lambda n: torch.full((n, 3), float("nan")), 3), "NaN"),
        (
            lambda: as_prior(two_sided),
            r"two_sided\(n, dim\) without dim received; give dim, or .*Call",
        ),
        (lambda: as_prior(torch.randn), r"randn\(n, dim\) without dim"),
        (lambda: as_prior(lambda n: torch.zeros(n)), r"prior <lambda>: \(8,\) returned"),
        (lambda: as_prior(lambda n: [0.0] * n), "prior <lambda>: list returned"),
        (lambda: as_prior(Gaussian), "the class Gaussian received; give an instance"),
        (lambda: as_prior("gaussian"), "prior: str|Type-check|violates type hint"),
        (lambda: FromDistribution(torch.distributions.Normal(0.0, 1.0)), "distribution"),
        (lambda: FromCallable(exponential, 3).log_prob(torch.zeros(1, 3)), "no log_prob"),
    ],
)
def test_bad_input_gives_a_one_line_error(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
