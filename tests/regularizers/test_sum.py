"""Sums of penalties: values, terms, auxiliary parts, and their place in a config."""

from pathlib import Path

import pytest
import torch
import yaml

from mmdprior import InputError
from mmdprior.build import Builder
from mmdprior.config import load_config
from mmdprior.config.load import make_config
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian
from mmdprior.regularizers import KL, MMD, NoPenalty, Predictability, SumOfPenalties, Weighted
from mmdprior.runs import assemble

SMALL = {
    "name": "small",
    "data": {"name": "sprites", "images": 400, "batch_size": 32},
    "model": {"name": "mlp", "hidden": [8], "latent_dim": 4},
    "trainer": {"steps": 4, "device": "cpu"},
    "evaluation": {"final_predictors": ["linear"], "match_samples": 32, "pictures": False},
}
TWO = {
    "name": "sum",
    "penalties": [
        {
            "name": "mmd",
            "weight": 20.0,
            "prior": "gaussian",
            "schedule": {"name": "warmup", "warmup_steps": 4},
        },
        {"name": "predictability", "weight": 3.0, "hidden": [8]},
    ],
}


def config(regularizer):
    return make_config({**SMALL, "regularizer": regularizer}, Path(), "x.yaml")


def test_value_is_the_weighted_and_scheduled_sum(generator):
    z = torch.randn(64, 4, generator=generator)
    latent = Latent(z, z, torch.zeros_like(z))
    mmd, kl = MMD(Gaussian(4), seed=0), KL()
    both = SumOfPenalties([Weighted(mmd, 20.0, lambda step: step / 10), kl])
    expected = 20 * 0.3 * float(mmd(latent, step=3)) + float(kl(latent, step=3))
    assert float(both(latent, step=3)) == pytest.approx(expected, rel=1e-6)
    assert float(both.terms["weighted_mmd"]) == pytest.approx(6 * float(mmd.terms["mmd"]), rel=1e-6)
    assert both.terms.keys() == {"weighted_mmd", "mmd", "standardised", "weighted_kl", "kl"}


def test_terms_of_the_same_name_are_numbered(generator):
    both = SumOfPenalties([MMD(Gaussian(2), seed=0), MMD(Gaussian(2), seed=0)])
    both(torch.randn(16, 2, generator=generator))
    assert {"mmd", "mmd_2", "standardised", "standardised_2", "weighted_mmd_2"} <= both.terms.keys()


def test_auxiliary_parts_of_all_penalties_are_trained(generator):
    first, second = (
        Predictability(3, hidden=(4,), steps=1, seed=1),
        Predictability(3, hidden=(4,), steps=3, seed=2),
    )
    both = SumOfPenalties([Weighted(first, 0.5), NoPenalty(), second])
    z = Latent(*[torch.randn(32, 3, generator=generator)] * 2)
    assert both.auxiliary_modules() == [first.networks, second.networks]
    assert both.auxiliary_steps == 3
    expected = first.auxiliary_loss(z).item() + second.auxiliary_loss(z).item()
    assert both.auxiliary_loss(z).item() == pytest.approx(expected, rel=1e-6)


def test_rejects_an_empty_sum_and_negative_weights():
    with pytest.raises(InputError, match="penalties: none"):
        SumOfPenalties([])
    with pytest.raises(InputError, match="weight: -1"):
        Weighted(NoPenalty(), -1.0)


def test_weights_and_schedules_are_flat_in_yaml():
    built = config(TWO)
    resolved = built.to_dict()["regularizer"]
    assert resolved["penalties"][0]["weight"] == 20.0
    assert resolved["penalties"][0]["schedule"] == {"name": "warmup", "warmup_steps": 4}
    again = make_config(built.to_dict(), Path(), "x.yaml").to_dict()
    assert again == built.to_dict()
    regularizer = Builder(built).regularizer()
    assert [entry.factor(1) for entry in regularizer.weighted] == [10.0, 3.0]
    assert isinstance(Builder(built).intended_prior(), Gaussian)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "mmd"}, r"regularizer\.penalties\.0\.prior: missing"),
        (
            {"name": "kl", "wieght": 2},
            r"regularizer\.penalties\.0\.wieght: unknown key; did you mean 'weight'",
        ),
        ({"name": "kl", "weight": "x"}, r"regularizer\.penalties\.0\.weight: 'x' received"),
        ({"name": "kl", "weight": -2.0}, r"regularizer\.penalties\.0\.weight: -2.0 received"),
        ({"name": "kl", "schedule": "cosin"}, r"regularizer\.penalties\.0\.schedule\.name: 'cosin' received"),
        (3, r"regularizer\.penalties\.0: 3 received"),
    ],
)
def test_errors_name_the_path_inside_a_sum(entry, words):
    with pytest.raises(InputError, match=words):
        Builder(config({"name": "sum", "penalties": [entry]})).regularizer()


def test_overrides_reach_into_a_list(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "regularizer": TWO}))
    loaded = load_config(
        file, ["regularizer.penalties.1.weight=7", "regularizer.penalties.0.kernel.name=anova"]
    )
    first, second = loaded.to_dict()["regularizer"]["penalties"]
    assert (first["kernel"]["name"], second["weight"]) == ("anova", 7.0)
    for place in ("2", "x", "-1"):
        with pytest.raises(InputError, match=f"'{place}' is out of range for a list of 2"):
            load_config(file, [f"regularizer.penalties.{place}.weight=1"])


def test_a_run_trains_the_networks_and_logs_all_terms():
    run = assemble(config(TWO), progress=False)
    logged: dict[str, float] = {}
    run.trainer.logger.scalars = lambda values, step: logged.update(values)
    start = {key: value.clone() for key, value in run.trainer.regularizer.state_dict().items()}
    run.trainer.run()
    now = run.trainer.regularizer.state_dict()
    assert any(key.endswith("weights.0") and not torch.equal(now[key], start[key]) for key in now)
    assert {"penalty/weighted_mmd", "penalty/standardised", "penalty/predictability_max"} <= logged.keys()
