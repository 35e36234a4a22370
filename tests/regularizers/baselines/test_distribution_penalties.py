"""Cramer-Wold, sliced Wasserstein and SIGReg against closed forms, scipy and sums in float64."""

import math

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks
from scipy.special import hyp1f1

from mmdprior import InputError, mmd
from mmdprior.kernels import RBF
from mmdprior.priors import Gaussian, GaussianMixture, Sphere
from mmdprior.regularizers import Biased, CramerWold, SIGReg, SlicedWasserstein


def gamma_of(n):
    return (4 / (3 * n)) ** 0.4


def cramer_wold_by_numpy(z, phi, diagonal):
    n, g = len(z), gamma_of(len(z))
    pairs = phi(((z[:, None] - z) ** 2).sum(2) / (4 * g))
    within = pairs.mean() if diagonal else (pairs.sum() - np.trace(pairs)) / (n * (n - 1))
    across = phi((z**2).sum(1) / (2 + 4 * g)).mean()
    return within / math.sqrt(g) + 1 / math.sqrt(1 + g) - 2 * across / math.sqrt(g + 0.5)


class TestCramerWold:
    @pytest.mark.parametrize("d", [2, 3, 10, 64])
    @pytest.mark.parametrize("scale", [1.0, 4.0])
    def test_exact_form_has_the_hypergeometric_function_of_scipy(self, d, scale):
        z = scale * torch.randn(40, d, dtype=torch.float64)
        expected = cramer_wold_by_numpy(z.numpy(), lambda s: hyp1f1(0.5, d / 2, -s), diagonal=False)
        assert float(CramerWold("exact")(z)) == pytest.approx(expected, abs=1e-7)

    @pytest.mark.parametrize(("d", "offset"), [(2, 0.22), (10, 0.038), (64, 0.012)])
    def test_published_form_has_its_approximation_and_its_documented_offset(self, d, offset):
        z = torch.randn(256, d, dtype=torch.float64)
        penalty = CramerWold()
        expected = cramer_wold_by_numpy(z.numpy(), lambda s: (1 + 4 * s / (2 * d - 3)) ** -0.5, diagonal=True)
        assert float(penalty(z)) == pytest.approx(math.log(expected), rel=1e-8)
        assert float(penalty.terms["cw"]) == pytest.approx(offset, rel=0.08)

    @pytest.mark.parametrize("d", [2, 10])
    def test_exact_form_is_zero_on_average_for_prior_draws(self, d):
        values = torch.stack([CramerWold("exact")(torch.randn(128, d)) for _ in range(25)])
        assert abs(float(values.mean())) < 4 * float(values.std()) / 5
        assert float(CramerWold("exact")(2 * torch.randn(128, d))) > 10 * float(values.std())

    def test_other_arguments_are_named(self):
        with no_checks(), pytest.raises(InputError, match="form: 'log' received; give published or exact"):
            CramerWold("log")
        with pytest.raises(InputError, match="latent: 1 dimension received; a cramer_wold penalty needs 2"):
            CramerWold()(torch.randn(8, 1))


class TestSlicedWasserstein:
    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_gaussians_have_the_closed_form_per_direction(self, scale):
        """m^2 + (1 - s)^2 between N(0, 1) and N(m, s^2); a shift m of the codes has mean square |m|^2 / d."""
        d, shift = 3, 1.5
        penalty = SlicedWasserstein(d, directions=100, seed=0)
        z = scale * torch.randn(5000, d) + shift
        expected = shift**2 + (1 - scale) ** 2
        assert float(penalty(z)) == pytest.approx(expected, rel=0.15)
        one = SlicedWasserstein(1, Gaussian(1, -2.0, 3.0), seed=0)
        assert float(one(torch.randn(20_000, 1))) == pytest.approx(4.0 + 4.0, rel=0.05)

    def test_the_value_of_prior_draws_of_any_prior_vanishes_with_their_number(self):
        for prior in (Gaussian(4), Sphere(4), GaussianMixture([[1.0] * 4, [-1.0] * 4])):
            penalty = SlicedWasserstein(4, prior, seed=0)
            few, many = (float(penalty(prior.sample(n))) for n in (250, 4000))
            assert many < 0.4 * few

    def test_values_are_those_of_sorted_projections(self):
        penalty, z = SlicedWasserstein(3, seed=7), torch.randn(50, 3)
        value = float(penalty(z, step=2))
        assert value == float(penalty(z[torch.randperm(50)], step=2)) != float(penalty(z, step=3))
        same = SlicedWasserstein(3, lambda n: z[:n], directions=4)
        assert float(same(z.flip(0))) == pytest.approx(0, abs=1e-12)
        shifted = z + torch.tensor([3.0, 0.0, 4.0])
        many = SlicedWasserstein(3, lambda n: z[:n], directions=20_000)
        assert float(many(shifted)) == pytest.approx(25.0 / 3, rel=0.05)


class TestSIGReg:
    def test_is_the_one_dimensional_mmd_under_a_unit_rbf(self):
        """Per slice n sqrt(2 pi) times the biased MMD^2 to N(0, 1), up to the ends of the integral."""
        z = torch.randn(60, 1, dtype=torch.float64) * 1.5 + 0.4
        kernel = torch.exp(-0.5 * (z - z.T).square()).mean()
        embedding = (0.5**0.5 * torch.exp(-z.square() / 4)).mean()
        expected = 60 * math.sqrt(2 * math.pi) * float(kernel - 2 * embedding + 3**-0.5)
        assert float(SIGReg(knots=200, limit=9.0)(z)) == pytest.approx(expected, rel=1e-6)
        assert float(SIGReg()(z)) == pytest.approx(expected, rel=0.05)
        draws = torch.randn(4000, 1, dtype=torch.float64)
        biased = mmd(z, draws, RBF(1.0), Biased())
        assert float(biased) == pytest.approx(expected / (60 * math.sqrt(2 * math.pi)), abs=0.01)

    def test_has_the_published_knots_and_weights(self):
        z = np.random.default_rng(0).normal(size=(30, 1))
        t = np.linspace(-3, 3, 33)
        difference = np.exp(1j * z * t).mean(0) - np.exp(-(t**2) / 2)
        expected = 30 * np.trapezoid(np.abs(difference) ** 2 * np.exp(-(t**2) / 2), t)
        assert float(SIGReg()(torch.from_numpy(z))) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("n", [64, 1000])
    def test_prior_draws_have_the_documented_mean(self, n):
        values = torch.stack([SIGReg(directions=100)(torch.randn(n, 5)) for _ in range(30)])
        assert float(values.mean()) == pytest.approx(1.05, abs=0.12)

    def test_every_direction_has_unit_length(self):
        """Projections of a sphere of radius sqrt(d) are close to N(0, 1) at d = 64."""
        z = Sphere(64, radius=8.0).sample(2000)
        assert float(SIGReg(directions=50)(z)) < 1.6
