"""Every penalty can be pickled, copied and saved as a whole, and has the same values afterwards."""

import copy
import io
import pickle

import pytest
import torch
from helpers.kernel_catalogue import KERNELS
from helpers.prior_catalogue import PRIORS

from mmdprior import KL, MMD, InputError, Latent
from mmdprior.kernels import RBF, WAE_IMQ
from mmdprior.kernels.spectrum import central_interval
from mmdprior.priors import Gaussian, Uniform
from mmdprior.regularizers import NoPenalty, Predictability, SumOfPenalties, Weighted
from mmdprior.training.schedules import Warmup

OTHER_KERNELS = {"rbf_sqrt_dim", "imq_sqrt_dim", "energy_power", "anova_1", "anova_short"}
OTHER_PRIORS = {
    *("mixture_ring", "mixture_grid", "mixture_simplex", "mixture_hypercube", "heavy_student_t"),
    *("two_points", "exact_spikes", "exact_groups", "gaussian_chain", "correlated_uniform"),
    *(
        "correlated_mixed",
        "correlated_atoms",
        "swiss_sheet",
        "affine_wide",
        "affine_gaussian",
        "affine_atoms",
    ),
}
"""Instances that differ from others of the same class only in their numbers."""
SLOW = {"generalized_gaussian", "correlated_shaped"}
"""Priors under which ANOVA takes seconds; `beta`, `mixture` and others have the same classes inside."""


def saved(module):
    """Return a module that was saved as a whole. Only for files of one's own: pickles run code."""
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = (copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module)), saved)


@pytest.fixture(scope="module")
def kernels():
    return {name: KERNELS[name]() for name in KERNELS.keys() - OTHER_KERNELS}


@pytest.fixture
def _intervals_once(monkeypatch):
    """Compute the interval of equal marginals once, not for every kernel."""
    results = {}

    def interval(marginals):
        key = repr(marginals)
        if key not in results:
            results[key] = central_interval(marginals)
        return results[key]

    monkeypatch.setattr("mmdprior.kernels.spectrum.central_interval", interval)


@pytest.mark.usefixtures("_intervals_once")
@pytest.mark.parametrize("name", sorted(PRIORS.keys() - OTHER_PRIORS))
def test_every_pair_of_prior_and_kernel(name, kernels):
    prior = PRIORS[name]()
    z = torch.randn(5, prior.dim)
    penalties = {}
    for kernel in kernels:
        if name not in SLOW or "anova" not in kernel:
            try:
                penalties[kernel] = MMD(prior, kernels[kernel], seed=0)
            except InputError:  # a kernel that needs marginals or moments
                continue
            penalties[kernel]._null_variance = 1.0  # from 1,024 draws; takes longer than all the rest
    values = {kernel: penalty(z, step=1) for kernel, penalty in penalties.items()}
    assert len(penalties) > 13
    duplicates = pickle.loads(pickle.dumps(penalties))
    for kernel, penalty in duplicates.items():
        assert torch.equal(penalty(z, step=1), values[kernel]), kernel
        assert penalty._null_variance == 1.0  # nothing was computed again


@pytest.mark.parametrize("make", COPIES)
@pytest.mark.parametrize("kernel", ["rbf", "wae_imq", "median_prior", "sliced_sphere", "anova", "sum_anova"])
def test_copies_have_equal_values_and_are_independent(make, kernel):
    penalty = MMD(Uniform(3), KERNELS[kernel](), seed=0)
    z = torch.randn(32, 3)
    value = penalty(z, step=1)
    other = make(penalty)
    assert torch.equal(other(z, step=1), value)
    assert other.terms["standardised"] == penalty.terms["standardised"]
    other.prior.high.fill_(4.0)
    fresh = MMD(Uniform(3, high=4.0), KERNELS[kernel](), seed=0)
    assert torch.equal(other(z, step=1), fresh(z, step=1))
    assert torch.equal(penalty(z, step=1), value)


def test_a_change_before_copying_is_not_lost():
    penalty = MMD(Gaussian(3), KERNELS["sum_anova"](), seed=0)
    penalty(torch.randn(8, 3))
    penalty.prior.mean.fill_(2.0)
    penalty.kernel.weights[1] = 3.0
    z = torch.randn(32, 3)
    for make in COPIES:
        assert torch.equal(make(penalty)(z), penalty(z))


OTHERS = {
    "none": NoPenalty,
    "kl": KL,
    "kl_prior": lambda: KL(Uniform(3), capacity=2.0),
    "predictability": lambda: Predictability(3, hidden=(4,)),
    "queue": lambda: MMD(Gaussian(3), RBF(), queue=40),
    "biased": lambda: MMD(Gaussian(3), WAE_IMQ(), "biased", seed=1),
    "function": lambda: MMD(Gaussian(3), RBF(), estimator=half, seed=1),
    "sum": lambda: SumOfPenalties(
        [Weighted(MMD(Gaussian(3), RBF()), 3.0, Warmup(10)), Predictability(3, hidden=(4,)), KL()]
    ),
}


def half(z, y, kernel):
    return kernel(z, y).mean() / 2


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("make", COPIES)
def test_every_other_penalty(name, make):
    penalty = OTHERS[name]()
    latent = Latent(*(torch.rand(16, 3) for _ in range(3)))
    penalty(latent, step=1)
    other = make(penalty)
    assert torch.equal(other(latent, step=2), penalty(latent, step=2))
    assert other.state_dict().keys() == penalty.state_dict().keys()
    assert other.describe() == penalty.describe()


def test_an_empty_queue_adds_no_keys_to_the_state_dict():
    assert set(MMD(Gaussian(3), RBF()).state_dict()) == {"prior.mean", "prior.scale"}
    assert set(MMD(Gaussian(3), KERNELS["sum_anova"]()).state_dict()) == {"prior.mean", "prior.scale"}
    assert set(MMD(Gaussian(3), RBF(), queue=4).state_dict()) == {
        "prior.mean",
        "prior.scale",
        "queue.codes",
        "queue._extra_state",
    }


@pytest.mark.parametrize("kernel", ["rbf", "anova", "sum_anova"])
@pytest.mark.parametrize("place", [lambda p: p, lambda p: torch.nn.ModuleDict({"penalty": p})])
def test_state_dicts_of_earlier_versions_load(kernel, place):
    """They have the keys of an empty queue, and the prior a second time inside ANOVA."""
    module = place(MMD(Gaussian(3), KERNELS[kernel]()))
    prefix = "" if isinstance(module, MMD) else "penalty."
    inner = {"rbf": None, "anova": "kernel._prior", "sum_anova": "kernel.kernels.0._prior"}[kernel]
    state = {
        f"{prefix}prior.mean": torch.ones(3),
        f"{prefix}prior.scale": torch.ones(3),
        f"{prefix}queue.codes": torch.zeros(0, 3),
        f"{prefix}queue._extra_state": torch.tensor(0),
    }
    if inner is not None:
        state |= {f"{prefix}{inner}.mean": torch.ones(3), f"{prefix}{inner}.scale": torch.ones(3)}
    module.load_state_dict(state)
    penalty = module if isinstance(module, MMD) else module["penalty"]
    assert penalty(torch.zeros(4, 3)) == MMD(Gaussian(3, mean=1.0), KERNELS[kernel]())(torch.zeros(4, 3))


def test_codes_in_a_state_dict_need_a_queue():
    state = MMD(Gaussian(3), RBF(), queue=4).state_dict()
    with pytest.raises(RuntimeError, match=r"queue\.codes"):
        MMD(Gaussian(3), RBF()).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"queue\.codes"):
        MMD(Gaussian(3), RBF(), queue=4).load_state_dict(MMD(Gaussian(3), RBF()).state_dict())
