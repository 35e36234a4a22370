"""Scores of codes that are independent of the factors, next to their chance levels."""

import json
import math

import numpy as np
import pytest
from helpers.factor_tables import sample, scores_of, standardised

from mmdprior.metrics import SupervisedProtocol
from mmdprior.metrics.supervised.scores import SCORES

PROTOCOL = SupervisedProtocol(train_votes=300, test_votes=300, probe="logistic")


def test_independent_codes_exceed_the_largest_of_nine_copies_in_a_tenth_of_the_draws():
    names = ("mig", "sap_r2", "modularity", "irs", "mcc_pearson", "med")
    above = []
    for draw in range(20):
        codes = np.random.default_rng(draw).normal(size=(300, 3))
        result = scores_of(codes, sample((3, 4), 300, seed=draw), *names, chance=9, seed=draw)
        above += [result.scores[name] > result.chance_max[name] for name in names]
    assert 0.03 < np.mean(above) < 0.2


@pytest.fixture(scope="module")
def independent():
    codes = np.random.default_rng(0).normal(size=(3000, 4))
    return scores_of(codes, sample((3, 4, 5), 3000), chance=3, protocol=PROTOCOL)


ACCURACY = np.mean([1 / 3, 1 / 4, 1 / 5])
CHANCE = {
    **dict.fromkeys(("beta_vae", "factor_vae"), (1 / 3, 0.07)),
    **dict.fromkeys(("mig", "mig_sup", "dcimig"), (0, 0.02)),
    **dict.fromkeys(("sap", "sap_r2", "info_e", "mcc_pearson", "mcc_spearman"), (0, 0.05)),
    **dict.fromkeys(("med", "dci_disentanglement", "dci_completeness"), (0, 0.1)),  # of numbers near 0
    "dci_informativeness": (ACCURACY, 0.03),
    "explicitness": (0.5, 0.02),
    "explicitness_scaled": (0, 0.04),
}
RATIOS = ("modularity", "info_m", "info_c")
"""Ratios of numbers near 0, so they vary from 0.3 to 0.8."""


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"dci_es"} - set(RATIOS)))
def test_independent_codes_score_the_stated_chance_level(name, independent):
    level, tolerance = CHANCE.get(name, (independent.chance[name], 0.01))
    assert independent.scores[name] == pytest.approx(level, abs=tolerance)
    assert independent.chance[name] == pytest.approx(level, abs=tolerance)


@pytest.mark.parametrize("name", RATIOS)
def test_ratios_of_independent_codes_are_large(name, independent):
    assert 0.3 < independent.scores[name] < 0.8
    assert 0.3 < independent.chance[name] < 0.8


def test_dci_es_of_independent_codes_is_undefined_and_named(independent):
    assert math.isnan(independent.scores["dci_es"])
    assert any(text.startswith("dci_es: undefined for 'factor_0'") for text in independent.warnings)


def test_results_depend_on_the_seed_only():
    factors = sample((3, 4), 400)
    codes = standardised(factors) + 0.5 * np.random.default_rng(0).normal(size=(400, 2))
    first = scores_of(codes, factors, chance=1, protocol=PROTOCOL, seed=3)
    assert scores_of(codes, factors, chance=1, protocol=PROTOCOL, seed=3).to_dict() == first.to_dict()
    assert scores_of(codes, factors, chance=1, protocol=PROTOCOL, seed=4).to_dict() != first.to_dict()
    assert set(first.chance) == set(first.scores) == set(SCORES)
    plain = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert plain["protocol"]["probe"] == "logistic"
    assert plain["factors"][0] == {
        "name": "factor_0",
        "kind": "ordinal",
        "levels": 3,
        "missing": 0,
        "scored": True,
    }
    assert "mig" in str(first)
    assert "chance" in str(first)


def test_every_probe_and_kind_of_factor_is_scored():
    rng = np.random.default_rng(0)
    n = 300
    angle, size = rng.uniform(0, 2 * math.pi, n), rng.normal(size=n)
    shape = rng.choice(["disc", "ring", "square"], n)
    codes = np.column_stack([np.cos(angle), np.sin(angle), size, (shape == "ring") + 0.0])
    codes += 0.05 * rng.normal(size=codes.shape)
    factors = {"angle": angle, "size": size, "shape": shape}
    names = ("dci_disentanglement", "dci_completeness", "dci_informativeness")
    for probe in ("histogram", "gradient_boosted", "random_forest", "lasso", "logistic"):
        result = scores_of(
            codes,
            factors,
            *names,
            kinds={"angle": "circular"},
            protocol=SupervisedProtocol(bins=5, probe=probe),
        )
        assert result.matrices["importance"].argmax(1).tolist() == [0, 0, 1, 2], probe
        assert result.scores["dci_informativeness"] > 0.5, probe
    assert [factor.kind for factor in result.factors] == ["circular", "continuous", "discrete"]
