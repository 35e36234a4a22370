"""Constants are copied once per device and dtype, and copies are never out of date."""

import copy
import pickle

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmdprior import MMD
from mmdprior.kernels import ANOVA, RBF, Sum
from mmdprior.kernels.constants import Constant
from mmdprior.priors import Gaussian, Uniform


class CountConversions(TorchDispatchMode):
    """Count conversions of dtype; on a GPU each of them would be a copy from the CPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_copies_once_per_dtype():
    constant = Constant(torch.tensor([1.0, 2.0], dtype=torch.float64))
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert constant.like(single).dtype == torch.float32
    assert constant.like(double).dtype == torch.float64
    assert constant.like(single) is constant.like(torch.ones(3))
    assert Constant(torch.tensor([0, 2])).like(single).dtype == torch.int64


def test_later_changes_of_the_source_do_not_reach_it():
    source = torch.tensor([1.0, 2.0])
    constant = Constant(source)
    constant.like(torch.zeros(1, dtype=torch.float64))
    source.mul_(10)
    assert constant.value.tolist() == [1.0, 2.0]
    assert constant.like(torch.zeros(1)).tolist() == [1.0, 2.0]


def test_deep_copies_and_pickles_keep_the_value_and_drop_the_cache():
    constant = Constant(torch.tensor([1.0], dtype=torch.float64))
    constant.like(torch.zeros(1))
    for other in (copy.deepcopy(constant), pickle.loads(pickle.dumps(constant))):
        assert torch.equal(other.value, constant.value)
        assert not other._copies
        assert torch.equal(other.like(torch.zeros(1)), constant.like(torch.zeros(1)))


def test_copies_of_inference_mode_can_be_used_with_gradients():
    with torch.inference_mode():
        constant = Constant(torch.tensor([2.0], dtype=torch.float64))
        constant.like(torch.zeros(1))
    z = torch.ones(1, requires_grad=True)
    (z * constant.like(z)).sum().backward()
    assert z.grad.item() == 2


def test_a_penalty_converts_its_constants_only_once():
    """See tests/regularizers/test_devices.py for every kernel and prior."""
    penalty, z = MMD(Gaussian(4), Sum([ANOVA(), RBF()])), torch.randn(16, 4)
    counts = []
    for _ in range(3):
        with CountConversions() as conversions:
            penalty(z)
        counts.append(conversions.count)
    assert counts[0] > 0
    assert counts[1:] == [0, 0]


def test_a_kernel_bound_again_has_the_constants_of_the_new_prior():
    kernel, z = ANOVA(), torch.randn(16, 3)
    kernel.bind(Gaussian(3)).means_within(z, unbiased=True)
    rebound, fresh = kernel.bind(Uniform(3)), ANOVA().bind(Uniform(3))
    assert torch.equal(rebound.means_within(z, unbiased=True), fresh.means_within(z, unbiased=True))


def test_a_penalty_can_be_copied_and_pickled():
    penalty, z = MMD(Uniform(3), Sum([ANOVA(), RBF()])), torch.randn(16, 3)
    value = penalty(z)
    for other in (copy.deepcopy(penalty), pickle.loads(pickle.dumps(penalty))):
        assert torch.equal(other(z), value)
