"""Conditional priors: draws given labels, missing labels, reading labels off codes."""

import math

import pytest
import torch
from helpers.prior_catalogue import FACTORS
from helpers.shape_checks import no_checks
from scipy import stats

from mmdprior import InputError
from mmdprior.build.construct import SlotBuilder
from mmdprior.config.slots import check_slot
from mmdprior.priors import ClassMixture, Factor, Factors, Gaussian, GaussianMixture, PerClass, Uniform

N = 4000


def seeded():
    return torch.Generator().manual_seed(0)


def values(n):
    """Return values of the labels of FACTORS."""
    g = seeded()
    columns = [torch.randint(k, (n,), generator=g).float() for k in (3, 10)]
    columns += [7 * torch.rand(n, generator=g) - 2, torch.randint(4, (n,), generator=g).float()]
    return torch.stack(columns, 1)


def test_given_labels_codes_are_positions_with_noise():
    prior, given = Factors(9, FACTORS, Uniform(1)), values(N)
    z = prior.sample(N, seeded(), given)
    # The positions, written out: unit variance over equally likely values.
    expected = {
        0: (given[:, 0] - 1) * math.sqrt(1.5),
        4: math.sqrt(2) * torch.cos(2 * math.pi * given[:, 1] / 10),
        2: math.sqrt(2) * torch.sin(2 * math.pi * given[:, 1] / 10),
        1: math.sqrt(12) * ((given[:, 2] + 2) / 7 - 0.5),
    } | {5 + k: ((given[:, 3] == k).float() - 0.25) * 4 / math.sqrt(3) for k in range(4)}
    for dim, mean in expected.items():
        noise = 0.2 if dim == 0 else 0.1
        assert stats.kstest(((z[:, dim] - mean) / noise).numpy(), "norm").pvalue > 1e-4, dim
    assert stats.kstest(z[:, 3].numpy(), "uniform", (-1, 2)).pvalue > 1e-4


def test_missing_labels_are_drawn_from_their_distribution():
    prior, given = Factors(9, FACTORS, Uniform(1)), values(N)
    given[:, 0] = torch.nan
    z = prior.sample(N, seeded(), given)
    free = prior.sample(N, torch.Generator().manual_seed(1))
    assert stats.ks_2samp(z[:, 0], free[:, 0]).pvalue > 1e-4
    assert torch.equal(prior.read(z)[:, 3], given[:, 3])
    integers = torch.full((N, 4), -1)
    assert stats.ks_2samp(prior.sample(N, seeded(), integers)[:, 1], free[:, 1]).pvalue > 1e-4


def test_labels_are_read_off_codes():
    prior, given = Factors(9, FACTORS, Uniform(1)), values(500)
    read = prior.read(prior.sample(500, seeded(), given))
    assert (read[:, [0, 3]] == given[:, [0, 3]]).double().mean() > 0.99
    assert ((read[:, 1] - given[:, 1]).remainder(10) == 0).double().mean() > 0.98
    assert (read[:, 2] - given[:, 2]).abs().mean() < 0.25
    shape = Factor("shape", (0,), "discrete", levels=3, order=[0, 2, 1])
    classes = torch.tensor([0.0, 1.0, 2.0])
    torch.testing.assert_close(
        shape.positions(classes)[:, 0], math.sqrt(1.5) * torch.tensor([-1.0, 1.0, 0.0])
    )
    assert torch.equal(shape.read(shape.positions(classes)), classes)
    turning = Factor("angle", (0, 1), "circular", low=-1.0, high=3.0)
    angles = torch.tensor([-1.0, 0.5, 2.9])
    torch.testing.assert_close(turning.read(turning.positions(angles)), angles)


@pytest.mark.parametrize(
    "prior",
    [
        PerClass([Gaussian(2, mean=-4.0), Gaussian(2), Gaussian(2, mean=4.0)], "digit", [0.2, 0.3, 0.5]),
        ClassMixture(GaussianMixture([[-4.0, -4.0], [0.0, 0.0], [4.0, 4.0]], 1.0, [0.2, 0.3, 0.5]), "digit"),
    ],
)
def test_classes_have_distributions_of_their_own(prior):
    classes = torch.arange(3).repeat(N // 3)[:, None]
    z = prior.sample(len(classes), seeded(), classes)
    for c, mean in enumerate((-4.0, 0.0, 4.0)):
        assert stats.kstest((z[classes[:, 0] == c] - mean).flatten().numpy(), "norm").pvalue > 1e-4
    assert (prior.read(z) == classes).double().mean() > 0.98
    shares = prior.read(prior.sample(N, seeded())).flatten().long().bincount(minlength=3) / N
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.3, 0.5]), atol=0.03, rtol=0)
    missing = prior.sample(N, seeded(), torch.full((N, 1), torch.nan))
    assert stats.ks_2samp(missing[:, 0], prior.sample(N)[:, 0]).pvalue > 1e-4


def test_yaml_gives_the_free_prior_the_remaining_dimensions():
    slot = check_slot("prior", {"name": "factors", "factors": FACTORS, "rest": {"name": "laplace"}})
    prior = SlotBuilder({"dim": 12}).build(slot)
    assert prior.dim == 12
    assert prior.parts()[-1].dim == 4
    classes = {
        "name": "per_class",
        "label": "digit",
        "priors": [{"name": "gaussian", "mean": m} for m in (0, 9)],
    }
    assert SlotBuilder({"dim": 3}).build(check_slot("prior", classes)).label_names == ("digit",)
    mixture = {"name": "class_mixture", "base": {"name": "gaussian_mixture_ring", "k": 10}}
    assert SlotBuilder({"dim": 4}).build(check_slot("prior", mixture)).factors[0].levels == 10


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({}, "factors: none received"),
        ({"x": {"dims": [0]}}, "factors.x.levels: missing"),
        ({"x": {"dims": [0], "levels": 1}}, "factors.x.levels: 1 received"),
        ({"x": {"dims": [3], "levels": 5}}, r"factors.x.dims: \[3\] received; dimensions are 0 to 2"),
        ({"x": {"dims": [0], "level": 5}}, "factors.x.level: unknown key; did you mean 'levels'"),
        ({"x": {"dims": [0], "kind": "circular", "levels": 5}}, "a circular factor needs two dimensions"),
        ({"x": {"dims": [0, 1, 2], "kind": "discrete", "levels": 5}}, "needs 1, 2 or 5 dimensions"),
        ({"x": {"dims": [0], "kind": "shape", "levels": 5}}, "factors.x.kind: 'shape' received"),
        ({"x": {"dims": [0], "levels": 5, "noise": 0}}, "factors.x.noise: 0 received"),
        ({"x": {"dims": [0], "kind": "continuous", "low": 2}}, "factors.x.high: 1.0 received"),
        ({"x": {"dims": [0], "levels": 2, "weights": [0.9, 0.9]}}, "factors.x.weights"),
        ({"x": {"dims": [0], "levels": 2}, "y": {"dims": [0], "levels": 2}}, "also received for x"),
        ({"x": {"dims": [0], "levels": 3, "order": [0, 2, 1]}}, r"factors.x.order: \[0, 2, 1\] received"),
        ({"x": {"dims": [0], "kind": "discrete", "levels": 3, "order": [0, 1]}}, "factors.x.order"),
        ([1, 2], "factors: list received"),
    ],
)
def test_mistakes_in_factors(factors, message):
    with no_checks(), pytest.raises(InputError, match=message):
        Factors(3, factors)


def test_mistakes_in_labels():
    prior = Factors(3, {"x": {"dims": [0], "levels": 5}})
    with pytest.raises(InputError, match=r"given: shape \(4, 2\) received; give \(4, 1\), one column"):
        prior.sample(4, given=torch.zeros(4, 2))
    with pytest.raises(InputError, match="rest: dim 3 received; the factors leave 2"):
        Factors(3, {"x": {"dims": [0], "levels": 5}}, Gaussian(3))
    with pytest.raises(InputError, match=r"priors.1: dim 3 received; the first has 2"):
        PerClass([Gaussian(2), Gaussian(3)])
