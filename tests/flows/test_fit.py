"""fit_bijection reaches priors, keeps the inverse, is repeatable, and says what it cannot do."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import InputError, lps
from mmdprior.flows import FlowSettings, fit_bijection, load_bijection, save_bijection
from mmdprior.priors import (
    Bernoulli,
    Gaussian,
    GaussianMixture,
    Laplace,
    Product,
    SwissRoll,
    TwoMoons,
    Uniform,
)

SMALL = FlowSettings(layers=4, hidden=[32, 32], steps=150, batch_size=256, learning_rate=3e-3, dropout=0.0)
DRAWS = FlowSettings(
    layers=4, hidden=[32, 32], transform="spline", steps=200, learning_rate=5e-3, dropout=0.0, noise=0.0
)
TINY = FlowSettings(layers=2, hidden=[8], steps=4, batch_size=64)


def curved(n, seed=0):
    """Dependent codes: two of four dimensions are noisy functions of the others."""
    g = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    g[:, 1] = 0.5 * g[:, 1] + g[:, 0].square()
    g[:, 3] = g[:, 3] * (0.3 + g[:, 2].abs())
    return 3 * g + 1


@pytest.fixture(scope="module")
def fitted():
    return fit_bijection(curved(4000), Gaussian(4), SMALL)


def test_codes_become_independent(fitted):
    h = curved(4000, seed=1)
    z = fitted.bijection(h)
    assert lps(h, "additive", null=0, permutations=0, bootstrap=0).score > 0.3
    assert lps(z, "additive", null=0, permutations=0, bootstrap=0).score < 0.12
    assert max(stats.kstest(column.numpy(), "norm").statistic for column in z.detach().T) < 0.06


def test_nothing_is_lost(fitted):
    h = curved(500, seed=2)
    assert (fitted.bijection.inverse(fitted.bijection(h)) - h).abs().max() < 1e-4 * h.std()
    assert fitted.inverse_error < 1e-5


def test_reported_loss_is_the_likelihood_of_held_out_codes(fitted):
    """Before the last whitening, which changes it little, and in the units of the codes."""
    h = curved(5000, seed=3)
    z, log_det = fitted.bijection.forward_and_log_det(h)
    nats = -(Gaussian(4).log_prob(z) + log_det).mean()
    assert float(nats) == pytest.approx(fitted.held_out_loss, abs=0.15)
    gaussian = torch.distributions.MultivariateNormal(h.mean(0), h.T.cov())
    assert float(-gaussian.log_prob(h).mean()) == pytest.approx(fitted.gaussian_loss, abs=0.25)
    assert fitted.held_out_loss < fitted.gaussian_loss - 0.3


def test_dimensions_keep_their_meaning(fitted):
    h = curved(2000, seed=4)
    z = fitted.bijection(h).detach()
    expected = [np.corrcoef(z[:, i], h[:, i])[0, 1] for i in range(4)]
    assert fitted.correlation == pytest.approx(expected, abs=0.1)
    assert fitted.correlation.mean() > 0.7


def test_result_is_text_and_json(fitted):
    assert json.loads(fitted.to_json())["n_train"] == 3600
    assert "held-out loss" in str(fitted)
    assert not fitted.warnings


@pytest.mark.parametrize(
    ("prior", "distribution"),
    [(Uniform(4, high=3.0), stats.uniform(-1, 4)), (Laplace(4, scale=2.0), stats.laplace(0, 2))],
)
def test_programmed_marginals(prior, distribution):
    fitted = fit_bijection(curved(4000), prior, SMALL)
    h = curved(2000, seed=1)
    z = fitted.bijection(h)
    assert max(stats.kstest(column.numpy(), distribution.cdf).statistic for column in z.detach().T) < 0.06
    assert (fitted.bijection.inverse(z) - h).abs().max() < 1e-4 * h.std()


def test_dependent_blocks():
    """A ring of six in two dimensions: the modes are found in equal shares."""
    prior = Product([GaussianMixture.ring(6), Gaussian(2)], [[0, 3], [1, 2]])
    fitted = fit_bijection(curved(4000), prior, SMALL)
    z = fitted.bijection(curved(2000, seed=1)).detach()
    modes = GaussianMixture.ring(6).components()[1]
    distance, nearest = torch.cdist(z[:, [0, 3]], modes).min(1)
    assert nearest.bincount(minlength=6).min() > 200
    assert (distance < 1).float().mean() > 0.98


def test_priors_known_by_draws_only():
    """Two moons have no density here: a map fitted to draws is inverted, and said to be."""
    prior = Product([TwoMoons(), Gaussian(2)])
    fitted = fit_bijection(curved(2000), prior, TINY, prior_settings=DRAWS)
    assert "no exact map" in fitted.warnings[0]
    h = curved(200, seed=1)
    z = fitted.bijection(h)
    assert (fitted.bijection.inverse(z) - h).abs().max() < 1e-3 * h.std()
    draws = fitted.bijection.parts[-1](torch.randn(2000, 4))[:, :2].detach()
    true = prior.sample(2000)[:, :2]
    assert max(stats.ks_2samp(a, b).statistic for a, b in zip(draws.T, true.T, strict=True)) < 0.1


def test_fit_is_a_function_of_codes_and_seed():
    codes = curved(500)
    state = torch.get_rng_state()
    first, second, other = (fit_bijection(codes, None, TINY, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.bijection(codes), second.bijection(codes))
    assert not torch.equal(first.bijection(codes), other.bijection(codes))


def test_best_step_is_kept():
    """150 codes overfit: the likelihood of held-out codes gets worse, and the best step is returned."""
    held_out = curved(1000, seed=5)
    settings = FlowSettings(layers=4, hidden=[64], steps=150, dropout=0.0, noise=0.0, weight_decay=0.0)
    fitted = fit_bijection(curved(150), None, settings, validation=held_out)
    losses = [evaluation.held_out for evaluation in fitted.history]
    best = min(losses)
    assert losses[-1] > best
    assert any("few" in text for text in fitted.warnings)
    offset = fitted.gaussian_loss - fitted.held_out_loss
    assert offset == pytest.approx(losses[0] - best, abs=1e-3)


def test_transport_cost_keeps_dimensions_closer():
    codes = curved(2000)
    free, held = (
        fit_bijection(codes, None, FlowSettings(**{**vars(SMALL), "steps": 60, "transport": weight}))
        for weight in (0.0, 30.0)
    )
    assert held.correlation.mean() > free.correlation.mean() + 0.02


@pytest.mark.parametrize("objective", ["likelihood", "two_maps", "mmd", "sliced"])
def test_other_objectives(objective):
    codes = curved(400)
    fitted = fit_bijection(codes, Gaussian(4), TINY, objective=objective, prior_settings=TINY)
    assert (fitted.bijection.inverse(fitted.bijection(codes)) - codes).abs().max() < 1e-3
    assert np.isfinite(fitted.held_out_loss)


def test_mmd_objective_reduces_the_mmd():
    fitted = fit_bijection(
        curved(1000), Gaussian(4), FlowSettings(**{**vars(SMALL), "steps": 40}), objective="mmd"
    )
    assert fitted.held_out_loss < 0.5 * fitted.history[0].held_out


def test_one_dimension():
    codes = torch.randn(1000, 1).exp()
    fitted = fit_bijection(codes, Uniform(1), TINY)
    assert (
        stats.kstest(fitted.bijection(codes)[:, 0].detach().numpy(), stats.uniform(-1, 2).cdf).statistic
        < 0.03
    )


def test_atoms_need_dequantize():
    codes = curved(300)
    with pytest.raises(InputError, match="set dequantize"):
        fit_bijection(codes, Bernoulli(4, p=0.25), TINY)
    fitted = fit_bijection(codes, Bernoulli(4, p=0.25), TINY, dequantize=True)
    z = fitted.bijection(codes)
    assert (z > -0.6).all()
    assert (z < 1.6).all()
    assert float((z > 0.5).float().mean()) == pytest.approx(0.25, abs=0.06)


def test_codes_on_a_surface_are_reported():
    t = torch.rand(600, 2)
    surface = torch.cat([t, t.square(), t.prod(1, keepdim=True), (5 * t).sin()], 1)
    plane = torch.randn(600, 2) @ torch.randn(2, 5)
    for codes, text in ((surface, "surface"), (plane, "no variance")):
        fitted = fit_bijection(codes, None, TINY)
        assert any(text in line for line in fitted.warnings), fitted.warnings


def test_a_prior_on_a_surface_gets_noise():
    fitted = fit_bijection(
        curved(300), Product([SwissRoll(3, noise=0.0), Gaussian(1)]), TINY, prior_settings=TINY
    )
    assert any("noise was added" in line for line in fitted.warnings)


def test_arrays_doubles_and_files(tmp_path):
    codes = curved(300).numpy().astype(np.float64)
    fitted = fit_bijection(codes, Uniform(4), TINY, validation=codes[:50])
    save_bijection(fitted.bijection, tmp_path / "map.pt", fitted.to_dict())
    loaded = load_bijection(tmp_path / "map.pt").double()
    h = torch.from_numpy(codes)
    assert (loaded.inverse(loaded(h)) - h).abs().max() < 1e-10
    assert torch.allclose(loaded(h).float(), fitted.bijection(h.float()), atol=1e-4)


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        (torch.randn(200), {}, "codes: shape"),
        (torch.randn(20, 3), {}, "codes: shape"),
        (torch.full((200, 3), torch.nan), {}, "codes: NaN"),
        (torch.randn(200, 3), {"prior": Gaussian(4)}, "prior: dim 4"),
        (torch.randn(200, 3), {"validation": torch.randn(50, 2)}, "validation: 2"),
        (torch.randn(200, 3), {"validation": torch.randn(3, 3)}, "validation: shape"),
        (torch.randn(200, 3), {"prior": Uniform(3), "objective": "likelihood"}, "objective: 'likelihood'"),
        (torch.ones(200, 3), {}, "codes: constant"),
    ],
)
def test_mistakes_give_one_line(codes, options, message):
    with pytest.raises(InputError) as error:
        fit_bijection(codes, settings=TINY, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"layers": 0}, {"dropout": 1.0}, {"noise": -0.1}, {"transport": float("nan")}],
)
def test_settings_out_of_range(options):
    with pytest.raises(InputError, match=f"^{next(iter(options))}: "):
        FlowSettings(**options)
