"""Every penalty satisfies the contract."""

import pytest
import torch
from helpers.baseline_catalogue import BASELINES
from helpers.kernel_catalogue import KERNELS

from mmdprior import KL, MMD
from mmdprior.kernels import ANOVA, RBF, Sum
from mmdprior.priors import Gaussian, GaussianMixture, Laplace, Samples, Uniform
from mmdprior.regularizers import Block, NoPenalty, Predictability, SumOfPenalties, Weighted
from mmdprior.testing import check_regularizer

MIXTURE = GaussianMixture([[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]], 0.5)
PENALTIES = {
    "none": NoPenalty,
    "kl": KL,
    "kl_gaussian": lambda: KL(Gaussian(3, scale=2.0)),
    "kl_mixture": lambda: KL(MIXTURE),
    "kl_capacity": lambda: KL(capacity=5.0, capacity_steps=10),
    "predictability": lambda: Predictability(3, hidden=(8,)),
    "predictability_plain": lambda: Predictability(
        3, hidden=(8,), standardise=False, through_predictions=False
    ),
    "mmd_unbiased": lambda: MMD(Gaussian(3), estimator="unbiased"),
    "mmd_biased": lambda: MMD(Gaussian(3), estimator="biased", seed=1),
    "mmd_block": lambda: MMD(Gaussian(3), estimator=Block(16), seed=1),
    "mmd_samples": lambda: MMD(Gaussian(3), num_samples=100),
    "mmd_function": lambda: MMD(Gaussian(3), estimator=lambda z, y, kernel: kernel(z, y).mean(), seed=1),
    "mmd_queue": lambda: MMD(Gaussian(3), RBF(), queue=100),
    "mmd_mixture": lambda: MMD(MIXTURE, RBF()),
    "mmd_box": lambda: MMD(Uniform(3), RBF()),
    "mmd_laplace": lambda: MMD(Laplace(3), RBF()),
    "mmd_stored_samples": lambda: MMD(Samples(torch.linspace(-1, 1, 30).reshape(10, 3)), RBF()),
    "sum": lambda: SumOfPenalties(
        [
            Weighted(MMD(Gaussian(3), Sum([ANOVA(), RBF()])), 20.0, lambda step: step / 10),
            Predictability(3, hidden=(8,), steps=1),
            KL(),
        ]
    ),
} | {f"mmd_{name}": lambda make=make: MMD(Gaussian(3), make(), seed=1) for name, make in KERNELS.items()}
PENALTIES |= {name: lambda make=make: make(3) for name, make in BASELINES.items()}


@pytest.mark.parametrize("name", PENALTIES)
def test_satisfies_the_contract(name):
    check_regularizer(PENALTIES[name](), dim=3)


def test_stochastic_latents():
    check_regularizer(MMD(Gaussian(3)), dim=3, stochastic=True)


def test_check_leaves_the_penalty_and_the_global_generator_unchanged():
    penalty = MMD(Gaussian(3), RBF(), queue=100)
    state = torch.get_rng_state()
    check_regularizer(penalty, dim=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert not penalty.terms
    assert not penalty.queue.codes.any()


def test_no_penalty_is_zero():
    assert NoPenalty()(torch.randn(5, 2)) == 0
