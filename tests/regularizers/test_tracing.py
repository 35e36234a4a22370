"""Penalties under torch.compile, torch.export, torch.func and activation checkpointing.

``MMDPRIOR_COMPILE=1 pytest tests/regularizers/test_tracing.py`` compiles every penalty, with every backend.
"""

import copy
import os

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap
from torch.utils.checkpoint import checkpoint

from mmdprior import KL, MMD, Latent, mmd
from mmdprior.kernels import ANOVA, RBF, WAE_IMQ, Energy, Sliced, Sum
from mmdprior.priors import (
    FullGaussian,
    Gaussian,
    GaussianMixture,
    Laplace,
    LowRankGaussian,
    Product,
    Samples,
    Sphere,
    Uniform,
)
from mmdprior.regularizers import (
    DHSIC,
    BetaTC,
    Block,
    CramerWold,
    Factor,
    Info,
    Predictability,
    SIGReg,
    SlicedWasserstein,
    SumOfPenalties,
    VICReg,
    Weighted,
)

EVERYTHING = os.environ.get("MMDPRIOR_COMPILE") == "1"
MIXTURE = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]

FIXED = {
    "kl": KL,
    "kl_gaussian": lambda: KL(Gaussian(3, 1.0, 2.0)),
    "kl_low_rank": lambda: KL(LowRankGaussian([[1.0], [2.0], [0.0]])),
    "kl_mixture": lambda: KL(GaussianMixture(MIXTURE)),
    "known_prior": lambda: MMD(Gaussian(3)),
    "known_full_gaussian": lambda: MMD(FullGaussian(torch.eye(3) + 0.3), WAE_IMQ()),
    "known_mixture": lambda: MMD(GaussianMixture(MIXTURE, [0.3, 0.6])),
    "known_samples": lambda: MMD(Samples(torch.linspace(-1, 1, 60).reshape(20, 3))),
    "known_box": lambda: MMD(Uniform(3), RBF()),
    "known_laplace": lambda: MMD(Laplace(3), RBF()),
    "known_product": lambda: MMD(Product([Gaussian(1), GaussianMixture.ring(4)])),
    "anova": lambda: MMD(Gaussian(3), ANOVA()),
    "anova_3": lambda: MMD(Uniform(3), ANOVA(order=3)),
    "anova_and_sphere": lambda: MMD(Gaussian(3), Sum([ANOVA(order=1), Sliced()])),
    "predictability": lambda: Predictability(3, hidden=(8,)),
    "sum": lambda: SumOfPenalties([Weighted(MMD(Gaussian(3)), 3.0), Predictability(3, hidden=(8,))]),
    "beta_tc": BetaTC,
    "factor": lambda: Factor(3, hidden=[8]),
    "cramer_wold": CramerWold,
    "dhsic": DHSIC,
    "vicreg": VICReg,
}
"""Name -> function that makes a penalty without random draws."""

DRAWN = {
    "unbiased": lambda: MMD(Gaussian(3), estimator="unbiased"),
    "biased": lambda: MMD(Laplace(3), estimator="biased"),
    "block": lambda: MMD(Sphere(3), estimator=Block(4)),
    "number_of_draws": lambda: MMD(Gaussian(3), num_samples=10),
    "median_batch": lambda: MMD(Gaussian(3), RBF("median_batch")),
    "directions": lambda: MMD(Gaussian(3), Sliced(directions=5)),
    "energy": lambda: MMD(GaussianMixture(MIXTURE), Energy()),
    "function": lambda: MMD(Gaussian(3), estimator=lambda z, y, kernel: kernel(z, y).mean()),
    "queue": lambda: MMD(Gaussian(3), queue=20),
    "beta_tc_stratified": lambda: BetaTC(estimator="stratified", data_size=100),
    "info": lambda: Info(3),
    "sliced_wasserstein": lambda: SlicedWasserstein(3, directions=5),
    "sigreg": lambda: SIGReg(directions=5),
}
"""Name -> function that makes a penalty with random draws or state."""

COMPILED = [*FIXED, *DRAWN] if EVERYTHING else ("kl_mixture", "anova", "predictability", "unbiased")
BACKENDS = ("eager", "aot_eager", "inductor") if EVERYTHING else ("aot_eager",)


def latent(n, dtype=torch.float32):
    mean, log_var = torch.randn(n, 3, dtype=dtype), 0.1 * torch.randn(n, 3, dtype=dtype) - 1
    return Latent(mean + torch.exp(0.5 * log_var) * torch.randn(n, 3, dtype=dtype), mean, log_var)


def function_of_means(penalty, codes):
    """Return the penalty as a function of one tensor."""
    return lambda mean: penalty(Latent(mean + 0.1, mean, codes.log_var))


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", COMPILED)
def test_compiles_as_one_graph_for_any_batch_size(name, backend):
    penalty = (FIXED | DRAWN)[name]()
    compiled = torch.compile(copy.deepcopy(penalty), backend=backend, fullgraph=True)
    for step, n in enumerate((8, 12, 15) if EVERYTHING else (8, 12)):
        codes = latent(n)
        mean = codes.mean.requires_grad_()
        values, gradients = [], []
        for module in (penalty, compiled):
            torch.manual_seed(step)
            values.append(module(Latent(mean + 0.1, mean, codes.log_var), step=step))
            gradients.append(torch.autograd.grad(values[-1], mean)[0])
        if backend != "inductor" or name in (*FIXED, "queue"):  # inductor draws other numbers
            torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)
            assert list(compiled.terms) == list(penalty.terms)
            for key, term in penalty.terms.items():
                torch.testing.assert_close(compiled.terms[key], term, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", FIXED)
def test_transforms_give_the_derivatives_of_autograd(name):
    penalty = FIXED[name]().double()
    codes = latent(5, torch.float64)
    function = function_of_means(penalty, codes)
    mean = codes.mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(mean), mean, create_graph=True)
    rows = [torch.autograd.grad(entry, mean, retain_graph=True)[0] for entry in gradient.flatten()]
    exact = torch.stack(rows).reshape(5, 3, 5, 3)
    for second in (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacfwd(jacfwd(f))):
        torch.testing.assert_close(second(function)(codes.mean), exact, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(grad(function)(codes.mean), gradient.detach())
    per_batch = vmap(function)(torch.stack([codes.mean, 2 * codes.mean]))
    expected = torch.stack([function(codes.mean), function(2 * codes.mean)])
    torch.testing.assert_close(per_batch, expected.detach())


@pytest.mark.parametrize("name", FIXED)
def test_derivatives_are_those_of_finite_differences(name):
    penalty = FIXED[name]().double()
    codes = latent(4, torch.float64)
    function = function_of_means(penalty, codes)
    mean = codes.mean.requires_grad_()
    assert torch.autograd.gradcheck(function, mean, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, mean, fast_mode=True)


def test_transforms_take_a_latent():
    codes = latent(6)
    gradient = grad(KL())(codes)
    assert isinstance(gradient, Latent)
    torch.testing.assert_close(gradient.mean, codes.mean / 6)
    deterministic = Latent(codes.mean, codes.mean)
    assert grad(MMD(Gaussian(3)))(deterministic).log_var is None
    batches = Latent(*(torch.stack([part, -part]) for part in (codes.sample, codes.mean, codes.log_var)))
    assert vmap(KL())(batches).shape == (2,)


def test_a_transform_leaves_the_terms_of_the_last_value():
    penalty = SumOfPenalties([MMD(Gaussian(3)), Predictability(3, hidden=(8,)), KL()])
    codes = latent(6)
    penalty(codes)
    before = dict(penalty.terms)
    grad(penalty)(latent(6))
    vmap(grad(penalty))(Latent(*(part[None] for part in (codes.sample, codes.mean, codes.log_var))))
    assert penalty.terms == before
    assert all(part.terms for part in penalty.penalties)


def test_draws_under_vmap_follow_its_randomness():
    penalty = MMD(Gaussian(3), estimator="unbiased")
    batches = torch.randn(5, 3).expand(2, 5, 3)
    same, different = (vmap(penalty, randomness=mode)(batches) for mode in ("same", "different"))
    assert same[0] == same[1]
    assert different[0] != different[1]


EXPORTED = [*FIXED, "queue"] if EVERYTHING else ("kl", "known_product", "anova")


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_for_any_batch_size(name):
    penalty = (FIXED | DRAWN)[name]().eval()
    n = Dim("n", min=2, max=1024)
    terms = dict(penalty.terms)
    exported = torch.export.export(penalty, (latent(5),), dynamic_shapes=([{0: n}] * 3,))
    assert penalty.terms == terms
    codes = latent(9)
    torch.testing.assert_close(exported.module()(codes), penalty(codes), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not EVERYTHING, reason="MMDPRIOR_COMPILE=1 runs it")
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("transform", [grad, hessian, vmap], ids=lambda t: t.__name__)
def test_transforms_compile(name, transform):
    codes = latent(5, torch.float64)
    function = transform(function_of_means(FIXED[name]().double(), codes))
    mean = codes.mean if transform is not vmap else torch.stack([codes.mean, 2 * codes.mean])
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(mean), function(mean))


@pytest.mark.skipif(not EVERYTHING, reason="MMDPRIOR_COMPILE=1 runs it")
@pytest.mark.parametrize("kernel", [RBF, ANOVA, WAE_IMQ, lambda: RBF("median_prior")])
def test_a_compiled_penalty_follows_a_loaded_prior(kernel):
    penalty, other = MMD(Gaussian(3), kernel()), MMD(Gaussian(3, mean=3.0, scale=2.0), kernel())
    compiled, z = torch.compile(penalty, backend="eager", fullgraph=True), torch.randn(20, 3)
    first = compiled(z)
    penalty.load_state_dict(other.state_dict())
    torch.testing.assert_close(compiled(z), other(z))
    assert compiled(z) != first
    torch.testing.assert_close(compiled.terms["standardised"], other.terms["standardised"])


class TestLearnedParts:
    def test_functional_call_replaces_the_networks_of_a_penalty(self):
        penalty, other = Predictability(3, hidden=(8,)), Predictability(3, hidden=(8,), seed=1)
        for module in (penalty, other):
            nn.init.normal_(module.networks.weights[-1], generator=torch.Generator().manual_seed(2))
        z = torch.randn(20, 3)
        parameters = dict(other.named_parameters())
        assert functional_call(penalty, parameters, (z,)) == other(z) != penalty(z)
        total = SumOfPenalties([Weighted(penalty, 2.0)])
        nested = {f"penalties.0.{name}": parameter for name, parameter in parameters.items()}
        torch.testing.assert_close(functional_call(total, nested, (z,)), 2 * other(z))

    def test_gradients_of_the_auxiliary_loss_per_batch(self):
        penalty = Predictability(3, hidden=(8,))
        parameters = {name: parameter.detach() for name, parameter in penalty.networks.named_parameters()}

        def loss(parameters, z):
            predicted = functional_call(penalty.networks, parameters, (z[None],)).squeeze(2).T
            return (predicted - z).square().mean(0).sum()

        gradients = vmap(grad(loss), in_dims=(None, 0))(parameters, torch.randn(4, 20, 3))
        assert all(gradient.isfinite().all() and len(gradient) == 4 for gradient in gradients.values())


@pytest.mark.parametrize("name", ["kl", "known_samples", "anova", "predictability", "queue"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_gives_the_same_gradient(name, reentrant):
    encoder, penalty = nn.Linear(6, 6), (FIXED | DRAWN)[name]().eval()
    x = torch.randn(10, 6, requires_grad=True)

    def loss(x):
        mean, log_var = encoder(x).chunk(2, 1)
        return penalty(Latent(mean, mean, log_var))

    plain, kept = (
        torch.autograd.grad(value, list(encoder.parameters()))
        if not reentrant
        else _gradients_by_backward(value, encoder)
        for value in (loss(x), checkpoint(loss, x, use_reentrant=reentrant))
    )
    for a, b in zip(plain, kept, strict=True):
        torch.testing.assert_close(a, b)


def _gradients_by_backward(value, encoder):
    encoder.zero_grad()
    value.backward()
    return [parameter.grad for parameter in encoder.parameters()]


def test_blocks_have_second_derivatives_and_transforms(monkeypatch):
    """Sums over pairs in blocks, as for large batches, differentiate like sums at once."""
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    kernels = (Energy(1.5), ANOVA(3).bind(Gaussian(3)))

    def results():
        for kernel in kernels:

            def value(x, kernel=kernel):
                return mmd(x, y, kernel)

            z = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(value(z), z, create_graph=True)
            yield torch.autograd.grad(gradient.square().sum(), z)[0]
            yield grad(value)(x)
            yield vmap(value)(torch.stack([x, 2 * x]))

    expected = list(results())
    for module in ("pairs", "spectrum", "anova"):
        monkeypatch.setattr(f"mmdprior.kernels.{module}.MAX_ENTRIES", 25)
    monkeypatch.setattr("mmdprior.kernels.pairs.BLOCK_ROWS", 5)
    for blockwise, whole in zip(results(), expected, strict=True):
        torch.testing.assert_close(blockwise, whole, rtol=1e-9, atol=1e-12)
