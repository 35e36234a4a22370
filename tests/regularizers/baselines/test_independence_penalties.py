"""NashAE, dHSIC and the penalties on covariances against explicit sums, and independent codes."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmdprior import InputError
from mmdprior.kernels.hsic import dhsic_statistic, log_row_means
from mmdprior.metrics.hsic import dhsic
from mmdprior.models import DeterministicPosterior
from mmdprior.regularizers import DHSIC, Decorrelation, Nash, VICReg


def related(n=200, d=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=g, dtype=torch.float64)
    z[:, 1] = z[:, 0] * z[:, 1] + 0.5 * z[:, 2]
    return z


class TestNash:
    def trained(self, z):
        penalty = Nash(3, hidden=[8], seed=0)
        optimizer = torch.optim.Adam(penalty.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            penalty.auxiliary_loss(z).backward()
            optimizer.step()
        return penalty

    def predictions(self, penalty, z):
        """Return what SELU networks predict, network i from codes whose column i is zero."""
        columns = []
        for i in range(z.shape[1]):
            hidden = z.clone()
            hidden[:, i] = 0
            layers = list(zip(penalty.networks.weights, penalty.networks.biases, strict=True))
            for k, (weight, bias) in enumerate(layers):
                hidden = (nn.functional.selu(hidden) if k else hidden) @ weight[i].to(z) + bias[i].to(z)
            columns.append(hidden[:, 0])
        return torch.stack(columns, 1)

    def test_is_the_covariance_of_detached_codes_and_predictions(self):
        z = related().float()
        penalty = self.trained(z)
        reference, codes = z.clone().requires_grad_(), z.clone().requires_grad_()
        predicted = self.predictions(penalty, reference)
        target = reference.detach()
        expected = ((target * predicted).mean(0) - target.mean(0) * predicted.mean(0)).sum()
        value = penalty(codes)
        assert torch.allclose(value, expected, rtol=1e-4)
        expected.backward()
        value.backward()
        assert torch.allclose(codes.grad, reference.grad, atol=1e-7)
        assert codes.grad.abs().max() > 1e-5
        loss = 0.5 * (self.predictions(penalty, z) - z).square().mean()
        assert torch.allclose(penalty.auxiliary_loss(z), loss)

    def test_negative_covariances_count(self):
        z = related().float()
        penalty = self.trained(z)
        with torch.no_grad():
            penalty.networks.weights[-1].neg_()
        assert float(penalty(z)) < 0

    def test_the_published_bound_is_a_posterior(self):
        params = torch.randn(8, 3, requires_grad=True)
        latent = DeterministicPosterior(bound="sigmoid")(params)
        assert torch.equal(latent.sample, params.sigmoid())
        assert latent.mean is latent.sample
        assert latent.log_var is None
        assert Nash(3, hidden=[8])(latent).isfinite()

    def test_other_arguments_are_named(self):
        for arguments, words in (({"dim": 1}, "dim: 1"), ({"dim": 3, "steps": 0}, "steps: 0")):
            with pytest.raises(InputError, match=words):
                Nash(**arguments)
        with pytest.raises(InputError, match="dim: 3 received; the latent has 2"):
            Nash(3, hidden=[8])(torch.randn(8, 2))


class TestDHSIC:
    def by_loops(self, z, lengthscale):
        x = (z - z.mean(0)) / z.std(0)
        kernels = np.exp(-((x[:, None] - x) ** 2) / (2 * lengthscale**2))
        joint = kernels.prod(2).mean()
        return joint + kernels.mean((0, 1)).prod() - 2 * kernels.mean(1).prod(1).mean()

    @pytest.mark.parametrize("lengthscale", [None, 0.7, 3.0])
    def test_equals_the_sums_over_pairs_of_rows(self, lengthscale):
        z = related(60)
        expected = self.by_loops(z.numpy(), lengthscale or math.sqrt(3) / 2)
        assert float(DHSIC(lengthscale)(5 * z - 2)) == pytest.approx(expected, rel=1e-9)

    def test_is_the_statistic_of_the_metric(self):
        z = related(80)
        scaled = (z - z.mean(0)) / z.std(0, correction=0) * math.sqrt(2 / 3)
        assert float(DHSIC()(z)) == pytest.approx(dhsic_statistic(scaled, log_row_means(scaled)), rel=1e-9)
        assert float(DHSIC()(z)) == pytest.approx(dhsic(z).value, rel=0.05)  # which divides by n - 1

    def test_independent_codes_have_a_value_of_order_1_over_n(self):
        few, many = (
            float(torch.stack([DHSIC()(torch.randn(n, 3)) for _ in range(10)]).mean()) for n in (50, 400)
        )
        assert many == pytest.approx(few / 8, rel=0.4)
        assert float(DHSIC()(related(400))) > 5 * many


class TestDecorrelation:
    def test_is_the_sum_of_squared_correlations_at_any_scale(self):
        z = related()
        correlation = np.corrcoef(z.numpy().T)
        expected = (correlation**2).sum() - 3
        assert float(Decorrelation()(z)) == pytest.approx(expected, rel=1e-9)
        assert float(Decorrelation()(100 * z + 7)) == pytest.approx(expected, rel=1e-9)

    def test_independent_codes_have_the_documented_mean(self):
        values = torch.stack([Decorrelation()(torch.randn(50, 4)) for _ in range(200)])
        assert float(values.mean()) == pytest.approx(12 / 49, rel=0.1)


class TestVICReg:
    def test_equals_the_published_terms(self):
        z = related() * torch.tensor([0.2, 1.0, 3.0])
        covariance = np.cov(z.numpy().T)
        hinge = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        off = ((covariance - np.diag(np.diag(covariance))) ** 2).sum() / 3
        assert float(VICReg()(z)) == pytest.approx(25 * hinge + off, rel=1e-9)
        assert float(VICReg(mu=0.0, nu=2.0)(z)) == pytest.approx(2 * off, rel=1e-9)

    def test_uncorrelated_codes_of_enough_variance_have_none(self):
        corners = 2 * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        assert float(VICReg()(corners)) == pytest.approx(0, abs=1e-12)
        collapsed = torch.zeros(8, 3, requires_grad=True)
        value = VICReg()(collapsed)
        value.backward()
        assert float(value.detach()) == pytest.approx(25 * 0.99)
        assert torch.isfinite(collapsed.grad).all()
