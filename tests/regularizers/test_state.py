"""Values that follow from prior, kernel and estimator are those of their present state."""

import copy
import math

import pytest
import torch
from helpers.prior_catalogue import PRIORS
from scipy import integrate

from mmdprior import KL, MMD, Latent
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Kernel,
    Laplacian,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.kernels.embedding import embedding
from mmdprior.priors import (
    Beta,
    Correlated,
    FromCallable,
    FromDistribution,
    FullGaussian,
    Gaussian,
    GaussianMixture,
    Grid,
    Laplace,
    PerClass,
    Pinwheel,
    Product,
    Samples,
    StudentT,
    Transform,
    Uniform,
)
from mmdprior.regularizers import Biased, Block, KnownPrior, SumOfPenalties, Weighted

KERNELS = {
    "rbf": RBF,
    "wae": WAE_IMQ,
    "imq": IMQ,
    "rational_quadratic": RationalQuadratic,
    "sliced": Sliced,
    "sliced_directions": lambda: Sliced(directions=4),
    "anova": ANOVA,
    "anova_3": lambda: ANOVA(order=3),
    "anova_frequencies": lambda: ANOVA(frequencies=2),
    "laplacian": Laplacian,
    "energy": Energy,
    "median_prior": lambda: RBF("median_prior"),
    "laplacian_median": lambda: Laplacian("median_prior"),
    "median_batch": lambda: IMQ("median_batch"),
    "sum": lambda: Sum([ANOVA(), WAE_IMQ(), RBF("median_prior")], [1.0, 0.5, 2.0]),
    "product": lambda: ProductKernel([RBF("median_prior"), IMQ()]),
}
Z = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
WIDE = torch.randn(64, 9, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    """Rules and null distributions from few draws, as only equal results are compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmdprior.kernels.null_variance._DRAWS", 128)
        patch.setattr("mmdprior.kernels.bandwidth._PRIOR_DRAWS", 128)
        yield


def value_and_score(penalty, z=Z):
    return penalty(z, step=1).item(), penalty.terms["standardised"].item()


def used(prior, kernel=RBF, **options):
    """Return a penalty that has computed everything it derives."""
    penalty = MMD(prior, kernel(), seed=0, **options)
    penalty(Z[:, : prior.dim])
    return penalty


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [(RBF, 0.8372), (WAE_IMQ, 3.9539), (ANOVA, 5.0952), (Sliced, 0.6394)],
)
def test_reported_values(kernel, expected):
    z = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    penalty = MMD(Gaussian(4), kernel())
    penalty.load_state_dict(MMD(Gaussian(4, mean=3.0), kernel()).state_dict())
    assert abs(penalty(z) - expected) < 5e-5


def test_standardised_of_a_kernel_with_draws_follows():
    """The scale of the prior changes the null distribution of a fixed length-scale."""
    penalty, fresh = used(Gaussian(4), Laplacian), MMD(Gaussian(4, scale=5.0), Laplacian(), seed=0)
    before = penalty._null_variance
    penalty.load_state_dict(fresh.state_dict())
    assert value_and_score(penalty) == value_and_score(fresh)
    assert not 0.7 < penalty._null_variance / before < 1.4


def test_value_after_an_edit_equals_the_closed_form():
    """RBF of l^2 = 2 with N(3, 1): c = 2^-1/2, and mu from scipy's integral."""
    penalty, z = used(Gaussian(1), lambda: RBF(2**0.5)), Z[:, :1].double()
    penalty.prior.mean.add_(3)

    def mu(x):
        def integrand(y):
            return math.exp(-((x - y) ** 2) / 4 - (y - 3) ** 2 / 2) / math.sqrt(2 * math.pi)

        return integrate.quad(integrand, -10, 16, epsabs=1e-12)[0]

    gram = torch.exp(-(z - z.T).square() / 4)
    within = (gram.sum() - len(z)) / (len(z) * (len(z) - 1))
    expected = within - 2 * sum(mu(x) for x in z[:, 0].tolist()) / len(z) + 2**-0.5
    assert abs(penalty(z) - expected) < 1e-6


CHANGES = {
    "load": lambda p, new: p.load_state_dict(new.state_dict()),
    "load_into_the_prior": lambda p, new: p.prior.load_state_dict(new.prior.state_dict()),
    "load_a_part": lambda p, new: p.load_state_dict({"prior.mean": new.prior.mean}, strict=False),
    "assign": lambda p, new: p.load_state_dict(copy.deepcopy(new.state_dict()), assign=True),
    "load_inside_a_module": lambda p, new: torch.nn.ModuleList([p]).load_state_dict(
        torch.nn.ModuleList([new]).state_dict()
    ),
    "edit": lambda p, new: p.prior.mean.add_(3),
    "edit_of_an_entry": lambda p, new: p.prior.mean.__setitem__(slice(None), 3.0),
    "edit_through_data": lambda p, new: p.prior.mean.data.fill_(3),
    "edit_through_numpy": lambda p, new: p.prior.mean.numpy().fill(3),
    "edit_in_inference_mode": lambda p, new: torch.inference_mode()(lambda: p.prior.mean.fill_(3))(),
    "other_data": lambda p, new: setattr(p.prior.mean, "data", torch.full((4,), 3.0)),
    "other_buffer": lambda p, new: setattr(p.prior, "mean", torch.full((4,), 3.0)),
    "other_prior": lambda p, new: setattr(p, "prior", new.prior),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kernel", ["rbf", "sum"])
def test_follows_every_way_to_change_the_prior(change, kernel):
    penalty, new = used(Gaussian(4), KERNELS[kernel]), MMD(Gaussian(4, mean=3.0), KERNELS[kernel](), seed=0)
    CHANGES[change](penalty, new)
    assert value_and_score(penalty) == value_and_score(new)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_follows(kernel):
    penalty, new = used(Gaussian(4), KERNELS[kernel]), MMD(Gaussian(4, 1.0, 3.0), KERNELS[kernel](), seed=0)
    penalty.load_state_dict(new.state_dict())
    assert value_and_score(penalty) == value_and_score(new)
    assert penalty.describe() == new.describe()


@pytest.mark.parametrize("estimator", ["unbiased", "biased", "block", "known_prior", "auto"])
@pytest.mark.parametrize("kernel", [RBF, lambda: Sum([ANOVA(), RBF("median_prior")])])
def test_every_estimator_follows(estimator, kernel):
    penalty, new = (
        used(prior, kernel, estimator=estimator) for prior in (Gaussian(4), Gaussian(4, 1.0, 3.0))
    )
    penalty.prior.mean.fill_(1), penalty.prior.scale.fill_(3)
    assert value_and_score(penalty) == value_and_score(new)


def shift(prior):
    """Move a prior: the first of its tensors or numbers that can take any larger value, or its base."""
    names = ("mean", "loc", "means", "shift", "high", "points", "scale", "radius", "noise", "slab")
    for name in names:
        value = getattr(prior, name, None)
        if isinstance(value, torch.Tensor):
            value += 0.5
            return
        if isinstance(value, float):
            setattr(prior, name, value + 0.5)
            return
    if isinstance(prior, FromDistribution):
        prior.distribution.loc.add_(0.5)
    elif isinstance(prior, FromCallable):
        fn = prior.fn
        prior.fn = lambda n: 2 * (fn(n, 3) if prior._takes_dim.of(fn)[1] else fn(n))
    elif isinstance(prior, PerClass):
        shift(prior.priors[0])
    else:
        shift(prior.blocks[0] if isinstance(prior, Product) else prior.base)


@pytest.mark.parametrize("name", sorted({*PRIORS} - {"correlated_shaped"}))  # whose marginals take seconds
def test_every_prior_is_followed(name):
    """With a closed embedding where there is one, and with the median distance of draws."""
    for kernel in (RBF, lambda: Laplacian("median_prior")):
        penalty = MMD(PRIORS[name](), kernel(), seed=0)
        z = WIDE[:, : penalty.prior.dim]
        before = penalty(z, step=1).item()
        shift(penalty.prior)
        fresh = MMD(copy.deepcopy(penalty.prior), kernel(), seed=0)
        assert penalty(z, step=1).item() == fresh(z, step=1).item() != before


@pytest.mark.parametrize("name", ["uniform", "grid", "mixture", "chain", "placed_product"])
def test_anova_follows_every_kind_of_marginals(name):
    penalty = MMD(PRIORS[name](), ANOVA(), seed=0)
    z = WIDE[:, : penalty.prior.dim]
    penalty(z)
    shift(penalty.prior)
    fresh = MMD(copy.deepcopy(penalty.prior), ANOVA(), seed=0)
    assert value_and_score(penalty, z) == value_and_score(fresh, z)


def test_a_replaced_kernel_or_estimator_is_used():
    penalty = used(Gaussian(4))
    penalty.kernel = RBF("median_prior")
    assert value_and_score(penalty) == value_and_score(MMD(Gaussian(4), RBF("median_prior"), seed=0))
    penalty.prior.scale.fill_(2)
    assert value_and_score(penalty) == value_and_score(
        MMD(Gaussian(4, scale=2.0), RBF("median_prior"), seed=0)
    )
    penalty.estimator = "biased"
    new = MMD(Gaussian(4, scale=2.0), RBF("median_prior"), "biased", seed=0)
    assert value_and_score(penalty) == value_and_score(new)
    penalty.estimator = Block(16)
    assert isinstance(penalty.estimator, Block)
    penalty.num_samples, penalty.estimator = 32, "auto"
    assert value_and_score(penalty) == value_and_score(
        MMD(Gaussian(4, scale=2.0), RBF("median_prior"), num_samples=32, seed=0)
    )


@pytest.mark.parametrize(
    ("kernel", "edit", "edited"),
    [
        (Sliced, lambda k: setattr(k, "lengthscale", 2.0), lambda: Sliced(2.0)),
        (RationalQuadratic, lambda k: setattr(k, "alpha", 3.0), lambda: RationalQuadratic(alpha=3.0)),
        (RBF, lambda k: k.factors.append(4.0), lambda: RBF(factors=[1.0, 4.0])),
        (ANOVA, lambda k: setattr(k, "lengthscale", 0.7), lambda: ANOVA(lengthscale=0.7)),
        (ANOVA, lambda k: setattr(k, "order", 3), lambda: ANOVA(order=3)),
        (
            lambda: Sum([ANOVA(), RBF("median_prior")]),
            lambda k: k.weights.__setitem__(1, 5.0),
            lambda: Sum([ANOVA(), RBF("median_prior")], [1.0, 5.0]),
        ),
        (
            lambda: Sum([ANOVA(), RBF("median_prior")]),
            lambda k: k.kernels.__setitem__(0, Energy()),
            lambda: Sum([Energy(), RBF("median_prior")]),
        ),
    ],
)
def test_an_edited_kernel_is_used_and_still_follows_the_prior(kernel, edit, edited):
    penalty = used(Gaussian(4), kernel)
    edit(penalty.kernel)
    assert value_and_score(penalty) == value_and_score(MMD(Gaussian(4), edited(), seed=0))
    penalty.prior.scale.mul_(2)
    assert value_and_score(penalty) == value_and_score(MMD(Gaussian(4, scale=2.0), edited(), seed=0))


class FixedManhattan(Kernel):
    """Bound copies of `Manhattan` forget that their length-scale is the prior's."""

    def __init__(self, lengthscale):
        super().__init__()
        self.register_buffer("lengthscale", torch.tensor(lengthscale))

    def evaluate(self, x, y):
        return torch.exp(-torch.cdist(x, y, p=1.0) / self.lengthscale.to(x))


class Manhattan(FixedManhattan):
    def __init__(self):
        super().__init__(1.0)

    def bind(self, prior):
        return FixedManhattan(float(prior.moments().covariance.diagonal().sqrt().sum()))


class Learned(Kernel):
    def __init__(self):
        super().__init__()
        self.log_length = torch.nn.Parameter(torch.zeros(()))

    def evaluate(self, x, y):
        return torch.exp(-torch.cdist(x, y) * torch.exp(-self.log_length))


@pytest.mark.parametrize("convert", [lambda p: p, lambda p: p.to(torch.float64), copy.deepcopy])
def test_a_users_kernel_is_bound_again(convert):
    penalty = convert(used(Gaussian(4), Manhattan))
    penalty.prior.scale.fill_(2)
    penalty(Z)
    assert penalty.kernel.lengthscale == 8
    assert penalty.kernel.lengthscale.dtype in (torch.float32, penalty.prior.dtype)


def test_the_null_distribution_follows_a_learned_kernel():
    penalty, new = used(Gaussian(4), Learned), MMD(Gaussian(4), Learned(), seed=0)
    for kernel in (penalty.kernel, new.kernel):
        kernel.log_length.data.fill_(1.0)
    optimizer = torch.optim.SGD(penalty.kernel.parameters(), lr=0.0)
    penalty(Z).backward()
    optimizer.step()  # an edit in place, also with learning rate 0
    assert value_and_score(penalty) == value_and_score(new)


def test_a_given_embedding_is_replaced_once_the_prior_has_changed():
    prior = Gaussian(4)
    penalty = MMD(prior, RBF(), KnownPrior(embedding(RBF(), prior)))
    penalty(Z)
    prior.mean.fill_(3)
    assert penalty(Z) == MMD(Gaussian(4, mean=3.0), RBF())(Z)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kernel", [RBF, lambda: RBF("median_prior")])
def test_conversion_equals_a_penalty_on_the_converted_prior(dtype, kernel):
    penalty = used(Gaussian(4, mean=0.3, scale=1.7), kernel).to(dtype)
    fresh = MMD(Gaussian(4, mean=0.3, scale=1.7).to(dtype), kernel(), seed=0)
    assert value_and_score(penalty) == value_and_score(fresh)


def test_a_prior_of_another_dimension_can_take_its_place():
    penalty = MMD(Gaussian(2), RBF(), queue=8)
    penalty(Z[:, :2])
    penalty.prior = Gaussian(4)
    assert penalty(Z) == MMD(Gaussian(4), RBF())(Z)


def test_an_unchanged_penalty_computes_nothing_again(monkeypatch):
    penalty = used(Gaussian(4), lambda: Sum([ANOVA(), RBF("median_prior")]))
    monkeypatch.setattr(MMD, "refresh", lambda self: pytest.fail("refreshed"))
    penalty.eval(), penalty.train()
    penalty.register_forward_hook(lambda *args: None)
    penalty(Z.clone().requires_grad_()).backward()
    penalty(Z, step=2)


def test_a_bound_anova_kernel_of_its_own_follows():
    prior = Gaussian(4)
    kernel = ANOVA().bind(prior)
    kernel(Z, Z)
    prior.mean.fill_(1)
    assert torch.equal(kernel(Z, Z), ANOVA().bind(Gaussian(4, mean=1.0))(Z, Z))
    kernel.lengthscale = 0.5
    assert torch.equal(kernel(Z, Z), ANOVA(lengthscale=0.5).bind(Gaussian(4, mean=1.0))(Z, Z))


def test_kl_follows():
    penalty, latent = KL(Gaussian(4)), Latent(Z, Z, torch.zeros_like(Z))
    penalty.load_state_dict(KL(Gaussian(4, mean=3.0)).state_dict())
    assert penalty(latent) == KL(Gaussian(4, mean=3.0))(latent)


def test_a_sum_uses_the_penalty_that_takes_the_place_of_another():
    total = SumOfPenalties([Weighted(MMD(Gaussian(4), RBF()), 3.0)])
    total.penalties[0] = MMD(Gaussian(4, mean=3.0), RBF())
    assert total(Z) == 3 * MMD(Gaussian(4, mean=3.0), RBF())(Z)


def draws(prior):
    return prior.sample(2000, torch.Generator().manual_seed(0))


COVARIANCE = torch.tensor([[4.0, 1.0], [1.0, 2.0]])
EDITED_PRIORS = {
    "full_gaussian": (
        lambda: FullGaussian(torch.eye(2)),
        lambda p: p.covariance.copy_(COVARIANCE),
        lambda: FullGaussian(COVARIANCE),
    ),
    "correlated": (
        lambda: Correlated(Uniform(2), 0.1),
        lambda p: p.correlation.copy_(torch.tensor([[1.0, 0.8], [0.8, 1.0]])),
        lambda: Correlated(Uniform(2), 0.8),
    ),
    "base": (
        lambda: Correlated(Uniform(2), 0.3),
        lambda p: setattr(p, "base", Laplace(2)),
        lambda: Correlated(Laplace(2), 0.3),
    ),
    "base_buffer": (
        lambda: Correlated(Uniform(2), 0.3),
        lambda p: p.base.high.add_(2),
        lambda: Correlated(Uniform(2, high=3.0), 0.3),
    ),
    "grid": (
        lambda: Grid(2, levels=4),
        lambda p: (p.low.sub_(1), setattr(p, "levels", 6)),
        lambda: Grid(2, levels=6, low=-2.0),
    ),
    "pinwheel": (Pinwheel, lambda p: setattr(p, "radial", 0.9), lambda: Pinwheel(radial=0.9)),
    "function": (
        lambda: FromCallable(lambda n: torch.rand(n, 2), 2),
        lambda p: setattr(p, "fn", torch.randn),
        lambda: FromCallable(torch.randn, 2),
    ),
}


@pytest.mark.parametrize("name", EDITED_PRIORS)
def test_draws_of_an_edited_prior_are_those_of_a_new_one(name):
    make, edit, new = EDITED_PRIORS[name]
    prior = make()
    draws(prior)
    edit(prior)
    for edited in (prior, copy.deepcopy(prior)):
        assert torch.equal(draws(edited), draws(new()))


def test_an_edit_that_makes_a_covariance_invalid_is_named():
    prior = FullGaussian(torch.eye(2))
    prior.covariance[0, 1] = 3.0
    with pytest.raises(ValueError, match="covariance: not symmetric"):
        prior.sample(2)
    prior.covariance[1, 0] = 3.0
    with pytest.raises(ValueError, match="covariance: not positive definite"):
        prior.sample(2)


@pytest.mark.parametrize(
    ("make", "key", "value"),
    [
        (lambda: FullGaussian(COVARIANCE), "factor", torch.linalg.cholesky(COVARIANCE)),
        (lambda: Correlated(Uniform(2), 0.3), "factor", torch.eye(2)),
        (lambda: Grid(2, levels=3), "atoms", torch.zeros(3, 2)),
    ],
)
def test_state_dicts_with_former_buffers_load(make, key, value):
    prior = make()
    prior.load_state_dict(prior.state_dict() | {key: value})
    assert torch.equal(draws(prior), draws(make()))


@pytest.mark.parametrize(
    "prior",
    [
        lambda: Samples(torch.randn(500, 4)),
        lambda: GaussianMixture(torch.randn(20, 4), 0.5),
        lambda: Transform(Gaussian(4), torch.nn.Linear(4, 4).requires_grad_(False)),
        lambda: Product([StudentT(2, 5.0), Beta(2, 2.0, 2.0)]),
    ],
)
def test_large_tensors_and_modules_inside_a_prior_count(prior):
    penalty = used(prior(), lambda: Laplacian("median_prior"))
    tensors = [t for t in (*penalty.prior.buffers(), *penalty.prior.parameters()) if t.numel()]
    with torch.no_grad():
        tensors[0].mul_(1.5)
    fresh = MMD(copy.deepcopy(penalty.prior), Laplacian("median_prior"), seed=0)
    assert value_and_score(penalty) == value_and_score(fresh)


def test_biased_values_follow_too():
    penalty = used(Gaussian(4), estimator=Biased())
    penalty.prior.scale.fill_(3)
    assert value_and_score(penalty) == value_and_score(MMD(Gaussian(4, scale=3.0), RBF(), Biased(), seed=0))
