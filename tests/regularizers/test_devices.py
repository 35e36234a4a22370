"""Penalties on a GPU, simulated with fake tensors: no device mismatch, and no wait after the first value."""

import pytest
import torch
from helpers.fake_cuda import FakeCUDA

from mmdprior import KL, MMD, Latent
from mmdprior.kernels import (
    ANOVA,
    IMQ,
    RBF,
    WAE_IMQ,
    Energy,
    Laplacian,
    Matern32,
    Matern52,
    ProductKernel,
    RationalQuadratic,
    Sliced,
    Sum,
)
from mmdprior.priors import FullGaussian, Gaussian, GaussianMixture, Laplace, Product, Samples, Uniform
from mmdprior.regularizers import (
    DHSIC,
    DIP,
    RAE,
    WAEGAN,
    BetaTC,
    CramerWold,
    Decorrelation,
    Factor,
    Nash,
    Predictability,
    SIGReg,
    SlicedWasserstein,
    SumOfPenalties,
    VICReg,
)

MEANS = [[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]]
COVARIANCE = [[1.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 2.0]]
PRIORS = {
    "gaussian": lambda: Gaussian(3),
    "full_gaussian": lambda: FullGaussian(COVARIANCE),
    "mixture": lambda: GaussianMixture(MEANS, [0.3, 0.6], [0.25, 0.75]),
    "isotropic_mixture": lambda: GaussianMixture(MEANS, 0.5),
    "samples": lambda: Samples(torch.randn(50, 3)),
    "box": lambda: Uniform(3),
    "independent": lambda: Laplace(3),
    "product": lambda: Product([Gaussian(2), Uniform(1)], dims=[[0, 2], [1]]),
}
KERNELS = {
    "rbf": RBF,
    "median_prior": lambda: RBF("median_prior"),
    "median_batch": lambda: RBF("median_batch"),
    "imq": IMQ,
    "wae": WAE_IMQ,
    "rational_quadratic": RationalQuadratic,
    "laplacian": Laplacian,
    "matern32": Matern32,
    "matern52": Matern52,
    "energy": Energy,
    "sliced": Sliced,
    "sliced_directions": lambda: Sliced(directions=4),
    "anova": ANOVA,
    "anova_frequencies": lambda: ANOVA(frequencies=2),
    "anova_3": lambda: ANOVA(order=3),
    "sum": lambda: Sum([ANOVA(), RBF()]),
    "product": lambda: ProductKernel([RBF(), IMQ()]),
    "product_anova": lambda: ProductKernel([RBF(), ANOVA()]),
}
NODES = {"imq", "rational_quadratic", "sliced", "wae"}
"""Kernels whose quadrature nodes fake tensors cannot compute: their null variance is computed beforehand."""
SINGLE = [(prior, "rbf", "auto") for prior in PRIORS] + [("gaussian", kernel, "auto") for kernel in KERNELS]
ESTIMATES = [("gaussian", "anova", name) for name in ("unbiased", "biased", "block")]
SCALES = [("mixture", "wae", "auto"), ("samples", "sliced", "auto"), ("box", "anova_3", "auto")]


@pytest.fixture
def _without_streams(monkeypatch):
    """Generators on a GPU need one; None is torch's global generator."""
    monkeypatch.setattr("mmdprior.kernels.null_variance.stream", lambda *args, **kwargs: None)


def assert_no_waits(penalty, latent_of):
    """Compute two values on the fake GPU (gradients need a real one); only the first may copy constants."""
    with FakeCUDA() as gpu:
        gpu.move(penalty)
        penalty(latent_of(gpu))
        gpu.waits.clear()
        penalty(latent_of(gpu))
        assert not gpu.waits, "\n".join(gpu.waits)


@pytest.mark.usefixtures("_without_streams")
@pytest.mark.parametrize(("prior", "kernel", "estimator"), sorted({*SINGLE, *ESTIMATES, *SCALES}))
def test_mmd_waits_for_the_gpu_at_most_once(prior, kernel, estimator):
    penalty = MMD(PRIORS[prior](), KERNELS[kernel](), estimator)
    penalty(torch.randn(8, 3))
    if kernel not in NODES:
        penalty._null_variance = None
    assert_no_waits(penalty, lambda gpu: gpu.randn(16, 3, requires_grad=True))


def test_kl_and_predictability_do_not_wait_for_the_gpu():
    def latent(gpu):
        return Latent(*(gpu.randn(16, 3, requires_grad=True) for _ in range(3)))

    assert_no_waits(SumOfPenalties([KL(), KL(Gaussian(3)), Predictability(3)]), latent)


BASELINES = {
    "beta_tc": BetaTC,
    "beta_tc_stratified": lambda: BetaTC(estimator="stratified", data_size=100),
    "factor": lambda: Factor(3, hidden=[8]),
    "dip": DIP,
    "wae_gan": lambda: WAEGAN(3, Laplace(3), hidden=[8]),
    "cramer_wold": CramerWold,
    "sliced_wasserstein": lambda: SlicedWasserstein(3, Laplace(3)),
    "sigreg": SIGReg,
    "nash": lambda: Nash(3),
    "dhsic": DHSIC,
    "decorrelation": Decorrelation,
    "vicreg": VICReg,
    "rae": lambda: RAE("none"),
}


@pytest.mark.parametrize("name", BASELINES)
def test_published_penalties_and_their_learned_parts_do_not_wait_for_the_gpu(name):
    penalty = BASELINES[name]()
    assert_no_waits(penalty, lambda gpu: Latent(*(gpu.randn(16, 3, requires_grad=True) for _ in range(3))))
    with FakeCUDA() as gpu:
        gpu.move(penalty)
        penalty.auxiliary_loss(Latent(*(gpu.randn(16, 3) for _ in range(3))))
        assert not gpu.waits, "\n".join(gpu.waits)


def test_fake_cuda_sees_copies_numbers_and_mismatches():
    constant = torch.randn(3)
    with FakeCUDA() as gpu:
        z = gpu.randn(2, 3)
        z + constant.to(z)
        float(z[0, 0])
        z[:, [0, 2]]
        assert [wait.partition(" at ")[0] for wait in gpu.waits] == ["cpu to cuda", "number", "cpu to cuda"]
        with pytest.raises(Exception, match="device"):
            z + constant


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", [RBF(), WAE_IMQ(), ANOVA(), ANOVA(frequencies=2), ANOVA(order=3)])
def test_every_form_on_cuda_equals_the_cpu(kernel):
    z = torch.randn(300, 12)
    prior = Gaussian(12)
    expected = MMD(prior, kernel)(z)
    assert abs(MMD(Gaussian(12).cuda(), kernel)(z.cuda()).cpu() - expected) < 1e-5
