"""Estimators: which is chosen, known prior against draws, blocks, the queue, a function of the user's."""

import pytest
import torch

from mmdprior import MMD, InputError, mmd
from mmdprior.kernels import ANOVA, RBF, WAE_IMQ, Energy, Laplacian, Sliced
from mmdprior.priors import Gaussian, GaussianMixture, Uniform
from mmdprior.regularizers import Block, KnownPrior, Unbiased


@pytest.mark.parametrize(
    ("prior", "kernel"),
    [
        (Gaussian(3), Laplacian()),
        (Gaussian(3), Energy()),
        (Gaussian(3), RBF("median_batch")),
        (Uniform(3), WAE_IMQ()),
        (GaussianMixture([[-2.0, 0.0, 1.0], [1.0, 1.0, -1.0]], 0.5), ANOVA()),
        (Gaussian(3), Sliced(directions=8)),
    ],
)
def test_pairs_without_embedding_use_draws(prior, kernel):
    assert "Unbiased" in MMD(prior, kernel).describe()
    assert torch.isfinite(MMD(prior, kernel)(torch.randn(16, 3)))
    with pytest.raises(InputError, match="no closed mean embedding"):
        MMD(prior, kernel, "known_prior")


def test_known_prior_agrees_with_many_draws(generator):
    prior, z = Gaussian(4), 0.7 * torch.randn(200, 4, generator=generator)
    known = MMD(prior, WAE_IMQ())
    assert isinstance(known.estimator, KnownPrior)
    drawn = torch.stack([mmd(z, prior.sample(1000, generator), known.kernel) for _ in range(20)])
    assert abs(known(z) - drawn.mean()) < 4 * drawn.std() / 20**0.5


def test_block_estimate_is_the_mean_of_its_blocks():
    z, y = torch.randn(35, 3, dtype=torch.float64), 1 + torch.randn(40, 3, dtype=torch.float64)
    expected = torch.stack([mmd(z[i : i + 16], y[i : i + 16], RBF()) for i in (0, 16)]).mean()
    assert abs(mmd(z, y, RBF(), Block(16)) - expected) < 1e-14


def test_queue_enlarges_the_sample_and_keeps_the_gradient(generator):
    penalty = MMD(Gaussian(3), RBF(), queue=100)
    first, second = torch.randn(2, 60, 3, generator=generator)
    penalty(first)
    z = second.clone().requires_grad_()
    value = penalty(z)
    z.grad = torch.autograd.grad(value, z)[0]
    assert torch.allclose(value, MMD(Gaussian(3), RBF())(torch.cat([second, first])), atol=1e-6)
    both = torch.cat([second, first]).requires_grad_()
    (whole,) = torch.autograd.grad(MMD(Gaussian(3), RBF())(both), both)
    assert torch.allclose(z.grad, whole[:60] * 2, atol=1e-6)
    restored = MMD(Gaussian(3), RBF(), queue=100)
    restored.load_state_dict(penalty.state_dict())
    assert torch.equal(restored(z.detach()), penalty(z.detach()))
    penalty.eval()
    assert torch.equal(penalty(first), penalty(first))


def test_function_as_estimator():
    def linear_time(z, y, kernel):
        return kernel(z[::2], z[1::2]).diagonal().mean() - kernel(z, y).diagonal().mean()

    assert MMD(Gaussian(3), RBF(), linear_time)(torch.randn(8, 3)).shape == ()
    with pytest.raises(InputError, match="estimator: .* returned; return a 0-dim tensor"):
        MMD(Gaussian(3), RBF(), lambda z, y, kernel: kernel(z, y))(torch.randn(8, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMD(Gaussian(3), estimator="best"), "estimator: 'best'"),
        (lambda: Block(1), "size: 1"),
        (lambda: MMD(Gaussian(3), queue=-1), "queue: -1"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_biased_estimate_is_standardised_without_its_bias(generator):
    penalty = MMD(Gaussian(6), RBF(), "biased")
    values = []
    for _ in range(100):
        penalty(torch.randn(32, 6, generator=generator))
        values.append(penalty.terms["standardised"])
    assert abs(torch.stack(values).mean()) < 0.4
    assert 0.75 < torch.stack(values).std() < 1.3


def test_the_old_name_of_the_variance_factor_still_works():
    with pytest.warns(DeprecationWarning, match="spread is now variance_factor"):

        class Old(Unbiased):
            def spread(self, n, m):
                return 3.0

    assert Old().variance_factor(10, 10) == 3.0
