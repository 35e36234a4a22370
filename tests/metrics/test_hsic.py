"""dHSIC against brute force, and its permutation null."""

import numpy as np
import pytest
import torch
from helpers.codes import xor

from mmdprior import InputError
from mmdprior.metrics.hsic import dhsic
from mmdprior.metrics.pairs import distance_correlation


def brute_dhsic(z):
    """Pfister et al. (2018), equation 4, with one matrix per dimension."""
    z = (z - z.mean(0)) / z.std(0, ddof=1)
    kernels = [np.exp(-((c[:, None] - c) ** 2) / (2 * z.shape[1] / 4)) for c in z.T]
    product = np.prod(kernels, axis=0)
    means = np.prod([k.mean(1) for k in kernels], axis=0)
    return product.mean() + np.prod([k.mean() for k in kernels]) - 2 * means.mean()


def test_brute_force(monkeypatch):
    z = torch.randn(80, 4).double() @ torch.randn(4, 4).double()
    expected = brute_dhsic(z.numpy())
    assert dhsic(z).value == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr("mmdprior.kernels.hsic._BLOCK", 1000)
    assert dhsic(z).value == pytest.approx(expected, abs=1e-12)


def test_sees_three_dimensions_whose_pairs_are_independent():
    z = xor(1000)
    joint = dhsic(z)
    assert joint.p_value == pytest.approx(0.01)
    assert joint.standardised > 10
    pairs = distance_correlation(z)
    assert pairs.max < 2 * pairs.level


def test_p_values_are_uniform_under_independence():
    p = [dhsic(torch.rand(40, 3), permutations=19, seed=s).p_value for s in range(60)]
    assert 0.01 <= np.mean(np.array(p) <= 0.1) <= 0.2
    assert 0.4 < np.mean(p) < 0.65


def test_too_few_permutations_raise():
    with pytest.raises(InputError, match="permutations: 1"):
        dhsic(torch.randn(50, 2), permutations=1)
