"""One small instance of every prior, for tests that hold for all of them."""

import torch

from mmdprior import InputError
from mmdprior.priors import (
    Affine,
    Ball,
    Bernoulli,
    Beta,
    Chain,
    Circle,
    ClassMixture,
    Corners,
    Correlated,
    Factors,
    FromCallable,
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
    PerClass,
    Pinwheel,
    Product,
    Rectified,
    Rotation,
    Samples,
    Sphere,
    SpikeAndSlab,
    StudentT,
    SwissRoll,
    Transform,
    Tree,
    TwoMoons,
    Uniform,
)


def two_sided(n, dim):
    return torch.randn(n, dim).abs() * torch.sign(torch.rand(n, dim) - 0.5)


def exponential(n):
    return torch.empty(n, 3).exponential_()


def bent(x):
    return torch.cat([x, x[:, :1] ** 2], 1)


MEANS = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]
COVARIANCE = [[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]]
CORRELATION = [[1.0, 0.7, -0.4], [0.7, 1.0, 0.1], [-0.4, 0.1, 1.0]]
FACTOR = [[1.0, 0.0], [0.5, -1.0], [0.0, 2.0], [0.3, 0.3]]
MATRIX = [[1.0, 0.5, 0.0], [0.0, 2.0, -1.0], [0.3, 0.0, 1.0]]
SIGNED = [[0.0, -2.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, -1.0]]


FACTORS = {
    "shape": {"dims": [0], "kind": "discrete", "levels": 3, "noise": 0.2},
    "angle": {"dims": [4, 2], "kind": "circular", "levels": 10},
    "x": {"dims": [1], "kind": "continuous", "low": -2.0, "high": 5.0},
    "digit": {"dims": [5, 6, 7, 8], "kind": "discrete", "levels": 4, "weights": [0.1, 0.2, 0.3, 0.4]},
}


def mixed():
    return Product([Laplace(1, 1.0), Uniform(1), Gaussian(1, 0.0, 2.0)])


PRIORS = {
    "gaussian": lambda: Gaussian(3, mean=[0.0, 1.0, -1.0], scale=[1.0, 0.5, 2.0]),
    "full_gaussian": lambda: FullGaussian(COVARIANCE, mean=[1.0, 0.0, -1.0]),
    "low_rank_gaussian": lambda: LowRankGaussian(FACTOR, scale=[0.5, 1.0, 0.3, 0.7], mean=0.5),
    "uniform": lambda: Uniform(3, low=[-1.0, 0.0, 2.0], high=[1.0, 0.5, 5.0]),
    "laplace": lambda: Laplace(3, loc=[0.0, 1.0, -1.0], scale=[1.0, 0.5, 2.0]),
    "logistic": lambda: Logistic(2, loc=0.5, scale=[0.5, 2.0]),
    "student_t": lambda: StudentT(3, df=[6.0, 9.5, 30.0], loc=1.0, scale=[1.0, 0.5, 2.0]),
    "heavy_student_t": lambda: StudentT(2, df=[0.3, 1.0]),
    "beta": lambda: Beta(3, [0.5, 2.0, 5.0], [0.5, 1.0, 2.0], low=-1.0, high=[1.0, 2.0, 3.0]),
    "generalized_gaussian": lambda: GeneralizedGaussian(3, [0.7, 1.5, 8.0], loc=1.0, scale=[1.0, 0.5, 2.0]),
    "grid": lambda: Grid(2, levels=5, low=-1.0, high=[1.0, 2.0]),
    "corners": lambda: Corners(3, scale=[1.0, 2.0, 0.5]),
    "bernoulli": lambda: Bernoulli(2, p=[0.2, 0.7], low=-1.0, high=2.0),
    "mixture": lambda: GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75]),
    "mixture_ring": lambda: GaussianMixture.ring(5, radius=2.0, scale=0.2, dim=3),
    "mixture_grid": lambda: GaussianMixture.grid(3, spacing=1.5, scale=0.2, dim=2),
    "mixture_simplex": lambda: GaussianMixture.simplex(3, radius=2.0, scale=0.3),
    "mixture_hypercube": lambda: GaussianMixture.hypercube(3, half_side=1.5, scale=0.3),
    "sphere": lambda: Sphere(4, radius=2.0),
    "two_points": lambda: Sphere(1, radius=1.5),
    "ball": lambda: Ball(3, radius=2.0),
    "spike_and_slab": lambda: SpikeAndSlab(3, 0.3, slab=2.0, spike=0.1),
    "exact_spikes": lambda: SpikeAndSlab(2, 0.4),
    "group_sparse": lambda: GroupSparse(4, 2, 0.4, scale=1.5, noise=0.3),
    "exact_groups": lambda: GroupSparse(4, 2, 0.4),
    "exact_rectified": lambda: Rectified(3, [2.0, 1.0, 4.0], loc=[0.0, 0.7, -0.5], scale=[1.0, 0.5, 2.0]),
    "correlated": lambda: Correlated(Gaussian(3, 1.0, [1.0, 2.0, 0.5]), CORRELATION),
    "correlated_uniform": lambda: Correlated(Uniform(3, 0.0, [1.0, 2.0, 3.0]), 0.5),
    "correlated_mixed": lambda: Correlated(mixed(), CORRELATION),
    "correlated_shaped": lambda: Correlated(
        Product([StudentT(1, 4.0), Beta(1, 0.7, 2.0), GeneralizedGaussian(1, 1.5)]), 0.4
    ),
    "correlated_atoms": lambda: Correlated(Bernoulli(3, 0.3), 0.6),
    "chain": lambda: Chain([0.9, -0.5], Logistic(3)),
    "gaussian_chain": lambda: Chain(0.8, dim=4),
    "tree": lambda: Tree([-1, 0, 0, 1], 0.7, Uniform(4)),
    "swiss_roll": lambda: SwissRoll(),
    "swiss_sheet": lambda: SwissRoll(3, noise=0.1),
    "two_moons": lambda: TwoMoons(),
    "pinwheel": lambda: Pinwheel(noise=0.05),
    "circle": lambda: Circle(),
    "product": lambda: Product([Uniform(1), GaussianMixture([[-2.0], [2.0]], 0.5), Gaussian(2)]),
    "placed_product": lambda: Product(
        [FullGaussian(COVARIANCE), Uniform(1), Laplace(1)], dims=[[4, 0, 2], [1], [3]]
    ),
    "factors": lambda: Factors(9, FACTORS, Uniform(1)),
    "per_class": lambda: PerClass([Gaussian(2, mean=-3.0), Laplace(2)], weights=[0.3, 0.7]),
    "per_class_bounded": lambda: PerClass([Ball(2), Uniform(2, 2.0, 3.0)]),
    "class_mixture": lambda: ClassMixture(GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75])),
    "affine": lambda: Affine(mixed(), MATRIX, shift=[0.0, 1.0, -1.0]),
    "affine_wide": lambda: Affine(Laplace(2), [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
    "affine_gaussian": lambda: Affine(FullGaussian(COVARIANCE), MATRIX, shift=0.5),
    "affine_signed": lambda: Affine(mixed(), SIGNED, shift=1.0),
    "affine_atoms": lambda: Affine(Bernoulli(3, 0.3), SIGNED),
    "rotation": lambda: Rotation(Laplace(3), seed=3),
    "transform": lambda: Transform(Gaussian(2), bent),
    "samples": lambda: Samples(torch.randn(50, 4, generator=torch.Generator().manual_seed(1))),
    "callable_n_dim": lambda: FromCallable(two_sided, 3),
    "callable_n": lambda: FromCallable(exponential, 3),
    "distribution": lambda: FromDistribution(torch.distributions.Laplace(torch.zeros(3), torch.ones(3))),
}


def draw(prior, n, seed=0):
    """Return n draws from a CPU generator with the given seed."""
    return prior.sample(n, torch.Generator().manual_seed(seed))


def _having(form):
    """Return the names of the priors that have a closed form."""
    names = []
    for name, make in PRIORS.items():
        try:
            form(make())
        except InputError:
            continue
        names.append(name)
    return names


WITH_MOMENTS = _having(lambda prior: prior.moments())
WITH_DENSITY = _having(lambda prior: prior.log_prob(draw(prior, 1)))
WITH_MARGINALS = _having(lambda prior: prior.marginals())
ATOMIC = [
    "grid",
    "corners",
    "bernoulli",
    "two_points",
    "exact_spikes",
    "exact_groups",
    "exact_rectified",
    "correlated_atoms",
    "affine_atoms",
    "samples",
]
