"""Weights that hold a quantity at a target: the update rule, simulated runs, and their place in a run."""

import math

import pytest
import torch
from helpers.fake_cuda import FakeCUDA
from helpers.small_runs import experiment, trainer

from mmdprior import KL, InputError
from mmdprior.errors import InputWarning
from mmdprior.models import BernoulliLikelihood, GaussianLikelihood
from mmdprior.regularizers import Weighted
from mmdprior.training import Cosine, Target
from mmdprior.training.losses import observed

MATCH = {"name": "target", "quantity": "penalty/standardised", "value": 3.0}


def held(quantity, value, response, steps=3000, lag=30.0, **options):
    """Return the last values of a simulated quantity that follows ``response(weight)`` with a lag."""
    schedule = Target(quantity, value, **options)
    current, history = response(1.0), []
    for step in range(steps):
        current += (response(float(schedule(step))) - current) / lag
        schedule.observe({quantity: torch.tensor(current, dtype=torch.float64)})
        history.append(current)
    return history[-300:], float(schedule(steps))


@pytest.mark.parametrize(
    ("quantity", "value", "response"),
    [
        ("penalty/kl", 12.0, lambda w: 80 * w**-0.5),
        ("penalty/standardised", 2.0, lambda w: 300 / w - 0.5),
        ("penalty/value", 1e-3, lambda w: 0.02 * w**-0.8),
        ("loss/reconstruction", 40.0, lambda w: 25 + 3 * w**0.7),
        ("reconstruction/psnr", 19.0, lambda w: 21 - 0.8 * math.log(1 + w)),
    ],
)
@pytest.mark.parametrize("lag", [5.0, 60.0])
def test_quantities_that_follow_the_weight_with_a_lag_settle_at_the_target(quantity, value, response, lag):
    last, weight = held(quantity, value, response, lag=lag)
    unit = 1.0 if quantity == "reconstruction/psnr" else value
    assert max(abs(entry - value) for entry in last) < 0.05 * unit
    assert response(weight) == pytest.approx(value, rel=0.05)


def test_damping_shortens_the_oscillation():
    def swing(damping):
        last, _ = held("penalty/kl", 10.0, lambda w: 50 / w, steps=1200, lag=60.0, damping=damping)
        return max(last) - min(last)

    assert swing(1.0) < 0.1 * swing(0.0)


@pytest.mark.parametrize("quantity", ["penalty/kl", "loss/reconstruction"])
def test_update_is_that_of_the_docstring(quantity, generator):
    values = 5 + 10 * torch.rand(50, generator=generator, dtype=torch.float64)
    schedule = Target(quantity, 8.0, scale=4.0, rate=0.05, damping=0.5, smoothing=0.9)
    sign = -1 if quantity == "loss/reconstruction" else 1
    average, log_factor, before = None, 0.0, None
    assert schedule(0) == 1.0
    for value in values:
        schedule.observe({quantity: value, "other": value})
        average = float(value) if average is None else 0.9 * average + 0.1 * float(value)
        error = sign * min(1.0, max(-1.0, (average - 8.0) / 4.0))
        log_factor += 0.05 * error + 0.5 * (error - (error if before is None else before))
        before = error
        assert float(schedule(1)) == pytest.approx(math.exp(log_factor), rel=1e-9)


def test_factor_stays_within_its_limits():
    for start, end in ((1e9, 50.0), (0.0, 0.1)):
        schedule = Target("penalty/value", 1.0, low=0.1, high=50.0, rate=1.0)
        for _ in range(20):
            schedule.observe({"penalty/value": torch.tensor(start)})
        assert float(schedule(20)) == pytest.approx(end)


def test_restored_state_continues_the_factor():
    values = [{"penalty/kl": torch.tensor(v)} for v in (30.0, 8.0, 15.0, 2.0)]
    whole, part = Target("penalty/kl", 10.0), Target("penalty/kl", 10.0)
    for value in values:
        whole.observe(value)
    part.observe(values[0])
    part.observe(values[1])
    resumed = Target("penalty/kl", 10.0)
    resumed.load_state_dict(part.state_dict())
    resumed.observe(values[2])
    resumed.observe(values[3])
    assert torch.equal(resumed(4), whole(4))
    assert not torch.equal(part(4), whole(4))


def test_observed_psnr_is_that_of_the_batch(generator):
    images, output = torch.rand(2, 8, 3, 4, 4, generator=generator, dtype=torch.float64)
    loss = GaussianLikelihood().loss(output, images)
    shape, terms = images.shape[1:], {"kl": torch.ones(())}
    values = observed(loss, loss, terms, GaussianLikelihood(), shape)
    mean_squared_error = float(((images - output) ** 2).mean())
    assert float(values["reconstruction/psnr"]) == pytest.approx(-10 * math.log10(mean_squared_error))
    assert float(values["penalty/kl"]) == 1
    assert "reconstruction/psnr" not in observed(loss, loss, terms, BernoulliLikelihood(), shape)
    assert "reconstruction/psnr" not in observed(loss, loss, terms, GaussianLikelihood(), (48,))


def test_updates_do_not_wait_for_the_gpu():
    schedule = Target("penalty/kl", 10.0)
    schedule.observe({"penalty/kl": torch.tensor(3.0)})  # as restored from a checkpoint, on the CPU
    with FakeCUDA() as gpu:
        schedule.observe({"penalty/kl": gpu.randn(1).sum()})
        gpu.waits.clear()
        schedule.observe({"penalty/kl": gpu.randn(1).sum()})
        assert (schedule(1) * gpu.randn(1)).device.type == "cuda"
        assert not gpu.waits, "\n".join(gpu.waits)


def test_a_run_raises_the_weight_of_a_match_above_the_target_and_lowers_it_below():
    weights = {}
    for value in (1e-3, 1e6):
        schedule = {**MATCH, "value": value, "rate": 0.1}
        run = trainer(regularizer__schedule=schedule)
        run.run()
        weights[value] = float(run.weight_schedule(6))
        assert float(run.state_dict()["weight_schedule"]["log_factor"].exp()) == weights[value]
    assert weights[1e-3] > 1 > weights[1e6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantity": "penalty/kl"}, r"regularizer\.schedule\.quantity: 'penalty/kl' received; give one of "),
        ({"quantity": "reconstruction/psnr"}, r"schedule\.quantity: 'reconstruction/psnr' received"),
        ({"value": 0.0}, r"regularizer\.schedule\.scale: missing"),
        ({"value": math.inf}, r"regularizer\.schedule\.value: inf received"),
        ({"scale": -1.0}, r"regularizer\.schedule\.scale: -1\.0 received"),
        ({"rate": 0.0}, r"schedule\.rate, damping: 0\.0, 1\.0 received"),
        ({"smoothing": 1.0}, r"schedule\.smoothing: 1\.0 received"),
        ({"low": 2.0}, r"schedule\.low, high: 2\.0, 10000\.0 received"),
    ],
)
def test_settings_that_cannot_be_held_are_errors(changes, message):
    with pytest.raises(InputError, match=message):
        experiment(regularizer__schedule={**MATCH, **changes})


def test_a_target_at_weight_0_is_a_warning():
    with pytest.warns(InputWarning, match=r"regularizer\.schedule: has no effect at weight 0"):
        experiment(regularizer__schedule=MATCH, regularizer__weight=0.0)


def test_only_the_weight_of_the_whole_penalty_can_follow_a_target():
    with pytest.raises(InputError, match=r"schedule: Target received for the learning rate"):
        experiment(trainer__schedule=MATCH)
    with pytest.raises(InputError, match=r"schedule: Target received for one penalty of a sum"):
        experiment(regularizer={"name": "sum", "penalties": [{"name": "none", "schedule": MATCH}]})
    with pytest.raises(InputError, match="Target received for one penalty of a sum"):
        Weighted(KL(), 2.0, Target("penalty/kl", 1.0))
    assert Weighted(KL(), 2.0, Cosine(4)).factor(0) == 2.0
