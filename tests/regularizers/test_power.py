"""Simulated power of a penalty against its closed-form null distribution."""

import json

import pytest
import torch

from mmdprior import MMD, InputError
from mmdprior.kernels import ANOVA, RBF
from mmdprior.priors import Gaussian
from mmdprior.regularizers.power import DEVIATIONS, detection


@pytest.mark.parametrize("impose", list(DEVIATIONS.values())[2:])
def test_dependence_keeps_the_marginals(impose):
    z = torch.randn(50, 3)
    changed = impose(z)
    assert torch.equal(changed.sort(0).values, z.sort(0).values)
    assert torch.equal(changed[:, [0, 2]], z[:, [0, 2]])


def test_simulated_signals_equal_those_by_formula():
    penalty, repeats, n = MMD(Gaussian(4), ANOVA()), 40, 40
    simulated = detection(penalty, repeats=repeats, n=n).signals
    by_formula = {name: [] for name in DEVIATIONS}
    for i in range(repeats):
        z = penalty.prior.sample(n, torch.Generator().manual_seed(i))
        penalty(z)
        null = penalty.terms["standardised"]
        for name, impose in DEVIATIONS.items():
            penalty(impose(z))
            by_formula[name].append(penalty.terms["standardised"] - null)
    for name, value in simulated.items():
        expected = float(torch.stack(by_formula[name]).mean())
        assert abs(value - expected) < 0.25 * abs(expected) + 0.5


def test_one_dimension_has_only_deviations_of_the_marginal():
    result = detection(MMD(Gaussian(1), RBF()), n=16, repeats=3)
    assert list(result.signals) == list(DEVIATIONS)[:2]
    assert json.loads(result.to_json())["signals"].keys() == result.signals.keys()
    assert "d = 1, 3 repeats" in str(result)


@pytest.mark.parametrize("arguments", [{"n": 2}, {"repeats": 1}])
def test_rejects_too_few_codes_or_repeats(arguments):
    with pytest.raises(InputError, match="detection: n"):
        detection(MMD(Gaussian(2)), **arguments)
