"""What holds for every published penalty: precision, contract, training from its name alone."""

import pickle

import pytest
import torch
from helpers.baseline_catalogue import BASELINES
from helpers.shape_checks import no_checks
from helpers.small_runs import trainer

from mmdprior import InputError, Latent
from mmdprior.config.catalogue import NAMES
from mmdprior.regularizers import Regularizer
from mmdprior.testing import check_regularizer

DETERMINISTIC = (
    *("wae_gan", "cramer_wold", "sliced_wasserstein", "sigreg"),
    *("nash", "dhsic", "decorrelation", "vicreg", "rae"),
)
STOCHASTIC = ("beta_tc", "dip", "factor", "info")


def latent(n=64, d=4):
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(n, d, generator=g) + 0.5 * torch.randn(n, 1, generator=g)
    log_var = 0.3 * torch.randn(n, d, generator=g) - 1
    return Latent(mean + (0.5 * log_var).exp() * torch.randn(n, d, generator=g), mean, log_var)


def halves(z):
    return Latent(*(part.bfloat16() for part in (z.sample, z.mean, z.log_var)))


@pytest.mark.parametrize("name", BASELINES)
def test_autocast_changes_nothing_and_bfloat16_codes_only_their_rounding(name):
    torch.manual_seed(0)
    penalty, z = BASELINES[name](4), latent()
    value = penalty(z, step=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(penalty(z, step=2), value)
    rounded = penalty(halves(z), step=2)
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(value.detach()), rel=0.05, abs=0.02)


@pytest.mark.parametrize("name", BASELINES)
def test_pickles_and_rejects_what_is_no_batch_of_codes(name):
    penalty, z = BASELINES[name](4), latent(8)
    assert torch.equal(pickle.loads(pickle.dumps(penalty))(z, step=1), penalty(z, step=1))
    empty = Latent(z.sample[:0], z.mean[:0], z.log_var[:0])
    wrong = [(z.sample.numpy(), "latent: ndarray received"), (z.sample.tolist(), "latent: list received")]
    wrong += [(empty, "latent: a batch of 0 received; the penalty needs")]
    if penalty.needs_posterior:
        wrong += [(z.sample, "latent: Tensor received; a .* penalty needs Latent")]
        wrong += [(Latent(z.mean, z.mean), "latent: deterministic received; a .* penalty needs")]
    else:
        wrong += [(z.sample.long(), "latent: torch.int64 received"), (z.sample[0], r"latent: shape \(4,\)")]
    for codes, message in wrong:
        with no_checks(), pytest.raises(InputError, match=f"^{message}"):
            penalty(codes)


@pytest.mark.parametrize("name", BASELINES)
def test_stochastic_latents_satisfy_the_contract(name):
    check_regularizer(BASELINES[name](3), dim=3, stochastic=True)


@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC])
def test_trains_from_its_name_alone(name):
    posterior = "gaussian" if name in STOCHASTIC else "deterministic"
    run = trainer(regularizer={"name": name, "weight": 1.0}, model__posterior=posterior, trainer__steps=2)
    run.run()
    assert run.step == 2
    assert all(torch.isfinite(term) for term in run.regularizer.terms.values())
    assert run.regularizer.describe() != Regularizer.describe(run.regularizer)


def test_nash_trains_on_codes_in_the_unit_interval():
    posterior = {"name": "deterministic", "bound": "sigmoid"}
    changes = {"model__posterior": posterior, "model__linear_skip": False, "trainer__steps": 2}
    run = trainer(regularizer={"name": "nash", "weight": 1.0}, **changes)
    run.run()
    images = run.batches.images.gather(torch.arange(20))[0].float() / 255
    codes = run.model.encode(images).mean
    assert ((codes > 0) & (codes < 1)).all()


def test_learned_parts_have_the_published_optimizer_unless_the_config_sets_one():
    group = trainer(
        regularizer={"name": "factor"}, model__posterior="gaussian"
    ).auxiliary_optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (1e-4, (0.5, 0.9))
    penalties = [{"name": "wae_gan", "hidden": [8]}, {"name": "predictability"}]
    both = {"name": "sum", "penalties": penalties}
    rates = [g["lr"] for g in trainer(regularizer=both).auxiliary_optimizer.param_groups]
    assert rates == [5e-4, 1e-3]
    settings = {"trainer__auxiliary_learning_rate": 0.01, "trainer__auxiliary_betas": [0.0, 0.9]}
    (group,) = trainer(regularizer=both, **settings).auxiliary_optimizer.param_groups
    assert (group["lr"], group["betas"]) == (0.01, (0.0, 0.9))


def test_every_baseline_has_a_name():
    assert {*DETERMINISTIC, *STOCHASTIC} <= NAMES["regularizer"].keys()
