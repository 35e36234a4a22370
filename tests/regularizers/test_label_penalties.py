"""Penalties on labelled codes: values against brute force, and labels that are few, missing or foreign."""

import math

import pytest
import torch
from helpers.prior_catalogue import FACTORS
from helpers.shape_checks import no_checks

from mmdprior import InputError, Latent
from mmdprior.kernels import RBF
from mmdprior.priors import ClassMixture, Factors, Gaussian, GaussianMixture, Uniform
from mmdprior.regularizers import (
    MMD,
    ConditionalMMD,
    CrossEntropy,
    Labelled,
    LinearHead,
    SquaredError,
    SumOfPenalties,
    Weighted,
)
from mmdprior.testing import check_regularizer

RING = ClassMixture(GaussianMixture.ring(4), "digit")
TWO = {"shape": {"dims": [2], "kind": "discrete", "levels": 3}, "x": {"dims": [0], "levels": 8}}


def data(n, classes=4, dim=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, dim, generator=g, dtype=torch.float64)
    return z, torch.randint(classes, (n, 1), generator=g)


def gauss(a, b, lengthscale):
    return math.exp(-float((a - b).square().sum()) / (2 * lengthscale**2))


def brute_force(z, y, similar, lengthscale):
    """Return the sum over pairs i != j of l(s_i, s_j) h_ij, and that of l."""
    total, weight = 0.0, 0.0
    for i in range(len(z)):
        for j in range(len(z)):
            if i == j:
                continue
            h = gauss(z[i], z[j], lengthscale)
            draws = range(y.shape[1])
            h -= 2 * sum(gauss(z[i], y[j, b], lengthscale) for b in draws) / len(draws)
            h += sum(gauss(y[i, a], y[j, b], lengthscale) for a in draws for b in draws) / len(draws) ** 2
            total += similar(i, j) * h
            weight += similar(i, j)
    return total, weight


@pytest.mark.parametrize("normalise", [True, False])
def test_classes_against_brute_force(normalise):
    z, c = data(24)
    penalty = ConditionalMMD(RING, RBF(0.7), draws=2, normalise=normalise, seed=3).double()
    value = penalty(z, labels=c, step=5)
    y = penalty._draw(c.double(), 5)
    total, weight = brute_force(z, y, lambda i, j: float(c[i] == c[j]), 0.7)
    assert float(value) == pytest.approx(total / (weight if normalise else 24 * 23), rel=0, abs=1e-10)


def test_ordinal_circular_and_missing_labels_against_brute_force():
    """Each label has an MMD of its own dimensions, over the rows that have the label."""
    prior = Factors(9, FACTORS, Uniform(1)).double()
    g = torch.Generator().manual_seed(1)
    labels = torch.stack([torch.randint(k, (14,), generator=g) for k in (3, 10, 5, 4)], 1).double()
    labels[:4, 2], labels[3:6, 1] = torch.nan, torch.nan
    z = torch.randn(14, 9, generator=g, dtype=torch.float64)
    penalty = ConditionalMMD(prior, RBF(0.9), draws=2, label_bandwidth=0.2, seed=3)
    penalty(z, labels=labels)
    y = penalty._draw(labels, 0)

    def similar(column):
        def of_pair(i, j):
            a, b = float(labels[i, column]), float(labels[j, column])
            if math.isnan(a) or math.isnan(b):
                return 0.0
            if column == 1:
                return math.exp(-((2 * math.sin(math.pi * (a - b) / 10)) ** 2) / (2 * 0.2**2))
            return math.exp(-(((a - b) / 7) ** 2) / (2 * 0.2**2)) if column == 2 else float(a == b)

        return of_pair

    for column, (name, settings) in enumerate(FACTORS.items()):
        total, weight = brute_force(z[:, settings["dims"]], y[:, :, settings["dims"]], similar(column), 0.9)
        assert float(penalty.terms[f"conditional_{name}"]) == pytest.approx(total / weight, abs=1e-10), name


def test_identity_of_classes_is_the_sum_over_classes():
    """sum_c n_c (n_c - 1) / (n (n - 1)) MMD^2(q(z|c), p(z|c)), each the U-statistic of its own rows."""
    z, c = data(60)
    penalty = ConditionalMMD(RING, RBF(0.7), draws=1, normalise=False, seed=0).double()
    y = penalty._draw(c.double(), 0)[:, 0]
    expected = 0.0
    for k in range(4):
        own, draws = z[c[:, 0] == k], y[c[:, 0] == k]
        n = len(own)
        h = sum(
            sign * torch.exp(-torch.cdist(a, b).square() / 0.98)
            for a, b, sign in ((own, own, 1), (draws, draws, 1), (own, draws, -1), (draws, own, -1))
        )
        expected += n * (n - 1) / (60 * 59) * float(h.fill_diagonal_(0).sum()) / (n * (n - 1))
    assert float(penalty(z, labels=c)) == pytest.approx(expected, abs=1e-10)


def test_joint_comparison_sees_dimensions_that_depend_on_a_label():
    prior = Factors(3, TWO).double()
    g = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.randint(3, (300,), generator=g), torch.randint(8, (300,), generator=g)], 1)
    z = prior.sample(300, g, labels)
    leaking = z.clone()
    leaking[:, 1] = labels[:, 0] - 1.0  # the free dimension holds the shape
    for per_factor, sees in ((True, False), (False, True)):
        penalty = ConditionalMMD(prior, per_factor=per_factor, draws=1, seed=0)
        assert (float(penalty(leaking, labels=labels) - penalty(z, labels=labels)) > 0.02) is sees


@pytest.mark.parametrize("make", [ConditionalMMD, SquaredError, CrossEntropy, LinearHead])
class TestFewLabels:
    def test_follows_the_contract(self, make):
        check_regularizer(make(Factors(9, FACTORS)), dim=9)

    def test_a_missing_label_does_not_constrain_its_dimensions(self, make):
        prior = Factors(3, TWO)
        z = torch.randn(6, 3, requires_grad=True)
        labels = torch.tensor([[0, 1], [0, 1], [1, 2], [1, 2], [2, -1], [2, -1]])
        penalty = make(prior)
        penalty(z, labels=labels).backward()
        if make is not LinearHead:  # whose head reads all dimensions
            assert not z.grad[4:, 0].any()
        assert z.grad[:, 2].any()
        assert z.grad[:4, 0].any()
        nothing = penalty(z, labels=torch.full((6, 2), -1))
        assert float(nothing.detach()) == 0

    def test_finds_labels_by_name_and_refuses_those_of_other_data(self, make):
        penalty = make(Factors(3, TWO))
        labels = torch.tensor([[7, 9, 0], [3, 9, 2]])
        penalty.set_labels(("x", "colour", "shape"), labels)
        z = torch.randn(2, 3)
        assert torch.isfinite(penalty(z, labels=labels))
        cases = [
            (
                ("x", "colour"),
                labels[:, :2],
                "factors: 'shape' received; the labels of the data are x, colour",
            ),
            ((), labels[:, :0], "the labels of the data are missing"),
            (("x", "shape"), labels[:, :2], "shape: values from 9 to 9 received; the prior has 0 to 2"),
            (("x", "shape"), torch.tensor([[-1, 0]]), "factors.x: no row of the data has this label"),
            (("x", "shape"), torch.tensor([[0.5, 0.0]]), "factors.x: values between integers"),
        ]
        for names, wrong, message in cases:
            with pytest.raises(InputError, match=message):
                make(Factors(3, TWO)).set_labels(names, wrong)
        with pytest.raises(InputError, match=r"labels: shape \(2, 1\) received; give \(2, 2\), one column"):
            make(Factors(3, TWO))(z, labels=labels[:, :1])

    def test_needs_a_conditional_prior_of_the_dimension_of_the_latent(self, make):
        with no_checks(), pytest.raises(InputError, match="prior: Gaussian received; give a conditional"):
            make(Gaussian(3))
        with pytest.raises(InputError, match="prior: dim 3 received; the latent has 4"):
            make(Factors(3, TWO)).check(dim=4, stochastic=False)


def test_a_class_with_one_row_and_an_unseen_class():
    z, _ = data(5)
    c = torch.tensor([[0], [0], [0], [1], [0]])  # class 1 has one row, classes 2 and 3 none
    penalty = ConditionalMMD(RING, RBF(0.7), draws=1, seed=0).double()
    codes = z.clone().requires_grad_()
    value = penalty(codes, labels=c)
    value.backward()
    assert not codes.grad[3].any()
    assert codes.grad[[0, 1, 2, 4]].any(1).all()
    without = torch.tensor([0, 1, 2, 4])
    total, weight = brute_force(z[without], penalty._draw(c.double(), 0)[without], lambda i, j: 1.0, 0.7)
    assert float(value.detach()) == pytest.approx(total / weight, abs=1e-10)
    assert float(penalty(z[:1], labels=c[:1])) == 0
    assert float(penalty(z[:3], labels=torch.tensor([[1], [2], [3]]))) == 0


def test_supervised_losses_written_out():
    prior = Factors(9, FACTORS)
    z, labels = (
        torch.randn(5, 9),
        torch.tensor([[0.0, 3, 0.5, 1], [2, 9, 5, 0], [1, 0, -2, 3], [0, 1, 1, 2], [1, 2, 3, 3]]),
    )
    sigmoid = torch.sigmoid(z)
    targets = torch.stack([labels[:, 0] / 2, (labels[:, 2] + 2) / 7], 1)
    angle = 2 * math.pi * labels[:, 1] / 10
    circle = torch.stack([1 + angle.cos(), 1 + angle.sin()], 1) / 2

    def bce(p, t):
        return -(t * p.log() + (1 - t) * (1 - p).log()).mean()

    expected = bce(sigmoid[:, 0], targets[:, 0]) + bce(sigmoid[:, 1], targets[:, 1])
    expected += bce(sigmoid[:, [4, 2]], circle)
    rows = torch.arange(5)
    expected -= z[:, 5:].log_softmax(1)[rows, labels[:, 3].long()].mean()
    torch.testing.assert_close(CrossEntropy(prior)(z, labels=labels), expected)
    noiseless = prior.sample(5, torch.Generator().manual_seed(0), labels)
    noise = [0.2**2, 0.1**2, 0.1**2, 0.1**2]
    assert float(SquaredError(prior)(noiseless, labels=labels)) == pytest.approx(sum(noise), abs=0.06)
    # Means, not samples, are compared.
    latent = Latent(z + 5, noiseless, torch.zeros_like(z))
    assert float(SquaredError(prior)(latent, labels=labels)) < 0.2
    with pytest.raises(InputError, match="ClassMixture received, which has no position per value"):
        SquaredError(RING)


def test_a_sum_gives_only_penalties_on_labels_the_labelled_batch():
    prior = Factors(3, TWO)
    z, few = torch.randn(20, 3), torch.randn(8, 3)
    labels = torch.stack([torch.arange(8) % 3, torch.arange(8)], 1)
    free, conditional = MMD(prior, seed=0), ConditionalMMD(prior, seed=0)
    both = SumOfPenalties([free, Weighted(SumOfPenalties([conditional]), 3.0)])
    value = both(z, labelled=Labelled(Latent(few, few), labels))
    torch.testing.assert_close(value, free(z) + 3 * conditional(few, labels=labels))
