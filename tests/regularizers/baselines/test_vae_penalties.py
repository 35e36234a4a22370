"""Penalties of VAEs against explicit sums in float64 and closed forms."""

import math

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks
from torch.distributions import Normal
from torch.nn.functional import softplus

from mmdprior import KL, InputError, Latent, mmd
from mmdprior.kernels import RBF
from mmdprior.priors import Gaussian, GaussianMixture
from mmdprior.regularizers import DIP, BetaTC, Biased, Factor, Info
from mmdprior.regularizers.baselines.beta_tc import stratified_weights


def latent(n=24, d=4, width=0.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, d, generator=g, dtype=torch.float64)
    log_var = width + 0.3 * torch.randn(n, d, generator=g, dtype=torch.float64)
    noise = torch.randn(n, d, generator=g, dtype=torch.float64)
    return Latent(mean + (0.5 * log_var).exp() * noise, mean, log_var)


def spread(n, d, gap):
    """Return independent codes on a line per dimension, at distances of ``gap`` posterior widths."""
    g = torch.Generator().manual_seed(0)
    mean = gap * torch.stack([torch.randperm(n, generator=g) for _ in range(d)], 1).double()
    return Latent(mean.clone(), mean, torch.zeros(n, d, dtype=torch.float64))


def kl(z):
    return float(KL()(z))


class TestBetaTC:
    def by_loops(self, z, weights):
        n, d = z.mean.shape
        total = 0.0
        for a in range(n):
            densities = np.zeros((n, d))
            for b in range(n):
                q = Normal(z.mean[b], (0.5 * z.log_var[b]).exp())
                densities[b] = q.log_prob(z.sample[a]).exp().numpy()
            w = weights[a].numpy()
            total += math.log(w @ densities.prod(1)) - np.log(w @ densities).sum()
        return total / n

    def test_weighted_is_the_mean_log_ratio_of_batch_densities(self):
        z = latent()
        penalty = BetaTC(beta=5.0)
        tc = self.by_loops(z, torch.full((24, 24), 1 / 24, dtype=torch.float64))
        assert float(penalty(z)) == pytest.approx(kl(z) + 4.0 * tc, rel=1e-10)
        assert float(penalty.terms["total_correlation"]) == pytest.approx(tc, rel=1e-10)

    def test_stratified_uses_the_published_weights_with_a_random_shift(self):
        z, penalty = latent(n=3), BetaTC(estimator="stratified", data_size=50, seed=1)
        values = [self.by_loops(z, stratified_weights(3, 50, shift).double()) for shift in (1, 2)]
        seen = set()
        for step in range(20):
            penalty(z, step=step)
            tc = float(penalty.terms["total_correlation"])
            seen.add(min((0, 1), key=lambda k: abs(values[k] - tc)))
            assert min(abs(value - tc) for value in values) < 1e-6
        assert seen == {0, 1}

    @pytest.mark.parametrize(("n", "size"), [(4, 100), (2, 1), (64, 5000), (128, 127)])
    def test_stratified_weights_sum_to_one_and_keep_the_own_posterior_on_the_diagonal(self, n, size):
        """Code bases that put the special weights in columns 0 and 1 have a row of 1.31 at n = 4, N = 100."""
        for shift in {1, n - 1}:
            weights = stratified_weights(n, size, shift).double()
            assert torch.allclose(weights.sum(1), torch.ones(n).double(), atol=1e-5)
            assert torch.allclose(weights.diagonal(), torch.full((n,), 1 / size).double())
            others = weights[torch.arange(n), (torch.arange(n) + shift) % n]
            assert torch.allclose(others, torch.full((n,), (size - n + 1) / (size * (n - 1))).double())

    @pytest.mark.parametrize("d", [2, 4, 10])
    @pytest.mark.parametrize("estimator", ["weighted", "stratified"])
    def test_bias_on_independent_codes(self, d, estimator):
        """0 for equal posteriors, (d - 1) log n or (d - 1) log N for separate ones, as documented."""
        penalty, n = BetaTC(estimator=estimator, data_size=10_000, seed=0), 32
        same = Latent(torch.randn(n, d), torch.zeros(n, d), torch.zeros(n, d))
        assert float((penalty(same), penalty.terms["total_correlation"])[1]) == pytest.approx(0, abs=1e-4)
        penalty(spread(n, d, 1000.0))
        size = n if estimator == "weighted" else 10_000
        expected = (d - 1) * math.log(size)
        assert float(penalty.terms["total_correlation"]) == pytest.approx(expected, rel=1e-5)

    def test_overlapping_posteriors_give_the_total_correlation_of_a_gaussian(self):
        """Means N(0, S) with noise N(0, I): the aggregate posterior is N(0, S + I)."""
        g = torch.Generator().manual_seed(0)
        correlation = torch.full((3, 3), 0.8).fill_diagonal_(1.0)
        mean = torch.randn(1500, 3, generator=g) @ torch.linalg.cholesky(4 * correlation).T
        z = Latent(mean + torch.randn(1500, 3, generator=g), mean, torch.zeros(1500, 3))
        total = 4 * correlation + torch.eye(3)
        expected = 0.5 * (total.diagonal().log().sum() - torch.logdet(total))
        penalty = BetaTC()
        penalty(z)
        assert float(penalty.terms["total_correlation"]) == pytest.approx(float(expected), abs=0.06)

    def test_the_size_of_the_data_comes_from_the_argument_or_the_loop(self):
        z, penalty = latent(n=8), BetaTC(estimator="stratified", seed=0)
        with pytest.raises(InputError, match="data_size: missing; give the number of training images"):
            penalty(z)
        penalty.before_training(model=torch.nn.Identity(), images=400)
        assert penalty(z) == BetaTC(estimator="stratified", seed=0, data_size=400)(z)
        with pytest.raises(InputError, match="data_size: 5 received for a batch of 8; give at least 7"):
            BetaTC(estimator="stratified", data_size=5)(z)

    def test_a_flow_is_rejected(self):
        z = latent()
        behind = Latent(z.sample, z.mean, z.log_var, z, torch.zeros(24, dtype=torch.float64))
        with pytest.raises(InputError, match=r"model\.flow: received with beta_tc"):
            BetaTC()(behind)


class TestDIP:
    @pytest.mark.parametrize(("variant", "ratio"), [("i", 10.0), ("ii", 1.0)])
    def test_equals_the_sums_over_entries_of_the_covariance(self, variant, ratio):
        z = latent()
        covariance = np.cov(z.mean.numpy().T, ddof=0)
        if variant == "ii":
            covariance += np.diag(z.log_var.exp().mean(0).numpy())
        off = (covariance - np.diag(np.diag(covariance))) ** 2
        expected = kl(z) + 3.0 * off.sum() + 3.0 * ratio * ((np.diag(covariance) - 1) ** 2).sum()
        assert float(DIP(variant, lambda_od=3.0)(z)) == pytest.approx(expected, rel=1e-10)

    def test_independent_codes_of_unit_variance_leave_only_the_kl(self):
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
        narrow = Latent(corners, corners, torch.full_like(corners, -40.0))
        for variant in ("i", "ii"):
            assert float(DIP(variant)(narrow)) == pytest.approx(kl(narrow), rel=1e-12)

    def test_other_arguments_are_named(self):
        with no_checks(), pytest.raises(InputError, match="variant: 'iii' received; give i or ii"):
            DIP("iii")
        with pytest.raises(InputError, match=r"lambda_od: -1\.0"):
            DIP(lambda_od=-1.0)


class TestFactor:
    def test_value_is_the_kl_and_the_mean_logit(self):
        z = latent()
        penalty = Factor(4, gamma=7.0, hidden=[8], seed=0)
        logits = penalty.discriminator(z.sample.float())
        assert float(penalty(z)) == pytest.approx(kl(z) + 7.0 * float(logits.mean().detach()), rel=1e-5)

    def test_the_discriminator_is_trained_on_the_halves_of_the_batch(self):
        """Codes of the first half as they are, those of the second with every dimension permuted."""
        z, penalty = latent(n=10).sample.float(), Factor(4, hidden=[8], seed=0)
        seen = []
        penalty.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        loss = penalty.auxiliary_loss(z, step=3)
        joint, permuted = seen
        assert torch.equal(joint, z[:5])
        assert torch.equal(permuted.sort(0).values, z[5:].sort(0).values)
        assert not torch.equal(permuted, z[5:])
        logits = penalty.discriminator(joint), penalty.discriminator(permuted)
        assert torch.allclose(loss, 0.5 * (softplus(-logits[0]).mean() + softplus(logits[1]).mean()))
        assert torch.equal(loss, penalty.auxiliary_loss(z, step=3))
        assert not torch.equal(loss, penalty.auxiliary_loss(z, step=4))

    def test_a_trained_discriminator_gives_the_total_correlation_of_a_gaussian(self):
        """TC of N(0, S) is -1/2 log det of its correlation matrix."""
        g = torch.Generator().manual_seed(0)
        correlation = torch.full((4, 4), 0.4).fill_diagonal_(1.0)
        factor = torch.linalg.cholesky(correlation).T
        penalty = Factor(4, hidden=[64, 64], seed=0)
        steps = 300
        optimizer = torch.optim.Adam(penalty.parameters(), lr=3e-3)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            optimizer.zero_grad()
            penalty.auxiliary_loss(torch.randn(2048, 4, generator=g) @ factor, step=step).backward()
            optimizer.step()
            decay.step()
        z = torch.randn(50_000, 4, generator=g) @ factor
        penalty(Latent(z, z, torch.zeros_like(z)))
        expected = -0.5 * float(torch.logdet(correlation))
        assert float(penalty.terms["total_correlation"]) == pytest.approx(expected, abs=0.05)

    def test_other_arguments_are_named(self):
        with pytest.raises(InputError, match="dim: 1 received; give at least 2 for a total correlation"):
            Factor(1)
        with pytest.raises(InputError, match="dim: 3 received; the latent has 4"):
            Factor(3, hidden=[8])(latent())


class TestInfo:
    def test_value_is_the_weighted_sum_of_kl_and_mmd(self):
        z = latent(n=64)
        mmd_value = Info(4, alpha=1.0, lambda_=1.0)(z)
        value = Info(4, alpha=0.25, lambda_=10.0)(z)
        assert float(value) == pytest.approx(0.75 * kl(z) + 9.25 * float(mmd_value), rel=1e-6)

    def test_the_default_kernel_is_the_published_one(self):
        """exp(-r^2 / d^2), against prior draws, up to the bias of the published V-statistic."""
        z, d = latent(n=400), 4
        y = torch.randn(5000, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        diagonal = 1 - torch.exp(-torch.cdist(z.sample, z.sample).square() / d**2).mean()
        biased = mmd(z.sample, y, RBF(d / math.sqrt(2)), Biased())
        expected = float(biased) - float(diagonal) / 399
        assert float(Info(d, alpha=1.0, lambda_=1.0)(z)) == pytest.approx(expected, abs=2e-3)

    @pytest.mark.parametrize("setting", [(-9.0, 9.001), (0.0, 1.0), (0.5, 0.25)])
    def test_a_coefficient_that_is_not_positive_is_rejected(self, setting):
        with pytest.raises(InputError, match=r"lambda_: .* alpha \+ lambda_ - 1 must be above 0"):
            Info(4, *setting)

    def test_another_prior_is_that_of_both_parts(self):
        z, prior = latent(), GaussianMixture([[1.0] * 4, [-1.0] * 4]).double()
        value = Info(4, lambda_=3.0, prior=prior, kernel=RBF(2.0))(z)
        expected = KL(prior)(z) + 2.0 * Info(4, 1.0, 1.0, prior, RBF(2.0))(z)
        assert torch.allclose(value, expected)
        assert Info(4, prior=Gaussian(4, 1.0)).mmd.prior.moments().mean.tolist() == [1.0] * 4


def test_capacity_has_a_factor_of_its_own():
    z = latent()
    for gamma, step in ((1000.0, 0), (3.0, 50), (1.0, 900)):
        penalty = KL(capacity=25.0, capacity_steps=100, gamma=gamma)
        expected = gamma * abs(kl(z) - 25.0 * min(step / 100, 1.0))
        assert float(penalty(z, step=step)) == pytest.approx(expected)
    with pytest.raises(InputError, match=r"gamma: 5.0 received without a capacity"):
        KL(gamma=5.0)
