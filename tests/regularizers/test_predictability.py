"""The penalty on what networks predict of each dimension, and sums of penalties."""

from pathlib import Path

import numpy as np
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


def equicorrelated(n, d, rho, generator):
    covariance = torch.full((d, d), rho).fill_diagonal_(1.0)
    return torch.randn(n, d, generator=generator) @ torch.linalg.cholesky(covariance).T


def trained(penalty, draw, updates=400, learning_rate=5e-3):
    optimizer = torch.optim.Adam(penalty.parameters(), lr=learning_rate)
    for _ in range(updates):
        optimizer.zero_grad()
        penalty.auxiliary_loss(draw()).backward()
        optimizer.step()
    return penalty


def by_hand(penalty, z):
    """Every network as explicit matrix products in float64, its own input zeroed."""
    z = z.detach().double().numpy()
    z = (z - z.mean(0)) / z.std(0)
    weights = [w.detach().double().numpy() for w in penalty.networks.weights]
    biases = [b.detach().double().numpy() for b in penalty.networks.biases]
    total = 0.0
    for i in range(z.shape[1]):
        hidden = z.copy()
        hidden[:, i] = 0
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = (np.maximum(hidden, 0) if layer else hidden) @ weight[i] + bias[i]
        total += max(0.0, float(np.cov(z[:, i], hidden[:, 0], ddof=0)[0, 1]))
    return total


def test_it_is_the_summed_positive_covariance_of_codes_and_predictions(generator):
    penalty = trained(
        Predictability(3, hidden=(8,)), lambda: equicorrelated(64, 3, 0.7, generator), updates=30
    )
    z = equicorrelated(200, 3, 0.5, generator)
    assert penalty(z).item() == pytest.approx(by_hand(penalty, z), rel=1e-4)
    assert float(penalty.terms["predictability"]) == pytest.approx(by_hand(penalty, z) / 3, rel=1e-4)


def test_trained_networks_make_it_d_times_the_r2_of_correlated_gaussians(generator):
    d, rho = 8, 0.7
    penalty = trained(Predictability(d), lambda: equicorrelated(512, d, rho, generator))
    inverse = torch.linalg.inv(torch.full((d, d), rho).fill_diagonal_(1.0))
    r2 = float(1 - 1 / inverse[0, 0])
    assert penalty(equicorrelated(20_000, d, rho, generator)).item() / d == pytest.approx(r2, abs=0.03)


def test_independent_codes_cost_next_to_nothing(generator):
    penalty = trained(Predictability(4), lambda: torch.randn(512, 4, generator=generator), updates=200)
    assert penalty(torch.randn(20_000, 4, generator=generator)).item() < 0.02


def test_standardised_codes_have_no_scale_and_plain_ones_do(generator):
    z = equicorrelated(256, 3, 0.8, generator)
    for standardise, factor in ((True, 1.0), (False, 9.0)):
        penalty = Predictability(3, hidden=(8,), standardise=standardise)
        trained(penalty, lambda: equicorrelated(64, 3, 0.8, generator), updates=40)
        for bias in penalty.networks.biases:  # without them a network of ReLUs is homogeneous
            bias.data.zero_()
        assert float(penalty(3 * z + 5)) == pytest.approx(factor * float(penalty(z)), rel=1e-3)


def test_a_linear_map_trained_against_it_returns_independent_codes(generator):
    mixing = torch.tensor([[1.0, 0.9], [0.9, 1.0]], requires_grad=True)
    penalty = Predictability(2, hidden=(16,))
    main = torch.optim.Adam([mixing], lr=1e-2)
    learned = torch.optim.Adam(penalty.parameters(), lr=5e-3)

    def correlation():
        covariance = mixing.detach() @ mixing.detach().T
        return float(covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt())

    assert correlation() > 0.9
    for _ in range(400):
        z = torch.randn(256, 2, generator=generator) @ mixing.T
        for _ in range(penalty.auxiliary_steps):
            learned.zero_grad()
            penalty.auxiliary_loss(z.detach()).backward()
            learned.step()
        main.zero_grad()
        (penalty(z) + (mixing.square().sum(1) - 1).square().sum()).backward()
        main.step()
    assert abs(correlation()) < 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 1}, "dim: 1 received"),
        ({"dim": 3, "hidden": [0]}, "hidden: "),
        ({"dim": 3, "steps": 0}, "steps: 0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(arguments, words):
    with pytest.raises(InputError, match=words):
        Predictability(**arguments)


def test_codes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match=r"dim: 3 received; the latent has 4"):
        Predictability(3)(torch.randn(8, 4))
    with pytest.raises(InputError, match="1 row"):
        Predictability(3)(torch.randn(1, 3))


def test_collapsed_codes_have_a_finite_gradient():
    z = torch.zeros(16, 3, requires_grad=True)
    penalty = trained(Predictability(3, hidden=(8,)), lambda: torch.randn(32, 3), updates=5)
    penalty(z).backward()
    assert torch.isfinite(z.grad).all()


def test_a_sum_is_the_weighted_scheduled_sum_of_its_parts(generator):
    z = torch.randn(64, 4, generator=generator)
    latent = Latent(z, z, torch.zeros_like(z))
    mmd, kl = MMD(Gaussian(4), seed=0), KL()
    both = SumOfPenalties([Weighted(mmd, 20.0, lambda step: step / 10), kl])
    expected = 20 * 0.3 * float(mmd(latent, step=3)) + float(kl(latent, step=3))
    assert float(both(latent, step=3)) == pytest.approx(expected, rel=1e-6)
    assert float(both.terms["weighted_mmd"]) == pytest.approx(6 * float(mmd.terms["mmd"]), rel=1e-6)
    assert both.terms.keys() == {"weighted_mmd", "mmd", "standardised", "weighted_kl", "kl"}


def test_terms_of_one_name_are_numbered(generator):
    both = SumOfPenalties([MMD(Gaussian(2), seed=0), MMD(Gaussian(2), seed=0)])
    both(torch.randn(16, 2, generator=generator))
    assert {"mmd", "mmd_2", "standardised", "standardised_2", "weighted_mmd_2"} <= both.terms.keys()


def test_a_sum_trains_the_learned_parts_of_all_its_penalties(generator):
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


def test_a_sum_refuses_nothing_and_negative_weights():
    with pytest.raises(InputError, match="penalties: none"):
        SumOfPenalties([])
    with pytest.raises(InputError, match="weight: -1"):
        Weighted(NoPenalty(), -1.0)


def test_weights_and_schedules_stand_flat_in_yaml_and_come_back_so():
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
def test_a_mistake_in_a_part_of_a_sum_is_named_by_its_path(entry, words):
    with pytest.raises(InputError, match=words):
        Builder(config({"name": "sum", "penalties": [entry]})).regularizer()


def test_an_override_reaches_into_a_list(tmp_path):
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


def test_a_run_with_both_moves_the_networks_and_logs_the_parts():
    run = assemble(config(TWO), progress=False)
    seen: dict[str, float] = {}
    run.trainer.logger.scalars = lambda values, step: seen.update(values)
    start = {key: value.clone() for key, value in run.trainer.regularizer.state_dict().items()}
    run.trainer.run()
    now = run.trainer.regularizer.state_dict()
    assert any(key.endswith("weights.0") and not torch.equal(now[key], start[key]) for key in now)
    assert {"penalty/weighted_mmd", "penalty/standardised", "penalty/predictability_max"} <= seen.keys()


class TestGradients:
    def test_the_penalty_moves_codes_alone_and_the_loss_networks_alone(self):
        z = torch.randn(64, 3).requires_grad_()
        z.data[:, 1] = z.data[:, 0] + 0.1 * z.data[:, 1]
        penalty = Predictability(3)
        optimizer = torch.optim.Adam(penalty.networks.parameters(), lr=1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            penalty.auxiliary_loss(z).backward()
            optimizer.step()
        assert z.grad is None
        optimizer.zero_grad()
        value = penalty(z)
        value.backward()
        assert value > 0.5
        assert z.grad.abs().max() > 0
        assert all(parameter.grad is None for parameter in penalty.parameters())

    def test_codes_may_be_of_double_precision(self):
        penalty = Predictability(3)
        z = torch.randn(64, 3, dtype=torch.float64).requires_grad_()
        (penalty(z) + penalty.auxiliary_loss(z)).backward()
        assert z.grad.dtype == torch.float64
        assert penalty(z).item() == pytest.approx(penalty(z.float()).item(), abs=1e-5)
