"""Scores of codes that are independent of the factors, next to their chance levels."""

import json
import math

import numpy as np
from helpers.factor_tables import sample, scores_of, standardised

from mmdprior.metrics import SupervisedProtocol
from mmdprior.metrics.supervised.scores import SCORES

PROTOCOL = SupervisedProtocol(train_votes=300, test_votes=300, probe="logistic")
NAMES = tuple(name for name in SCORES if name != "dci_es")  # undefined where nothing is predicted


def test_independent_codes_exceed_the_largest_of_nine_copies_in_a_tenth_of_the_draws():
    names = ("mig", "sap_r2", "modularity", "irs", "mcc_pearson", "med")
    above = []
    for draw in range(20):
        codes = np.random.default_rng(draw).normal(size=(300, 3))
        result = scores_of(codes, sample((3, 4), 300, seed=draw), *names, chance=9, seed=draw)
        above += [result.scores[name] > result.chance_max[name] for name in names]
    assert 0.03 < np.mean(above) < 0.2


def test_scores_of_independent_codes_are_at_chance():
    codes = np.random.default_rng(0).normal(size=(3000, 4))
    result = scores_of(codes, sample((3, 4, 5), 3000), *NAMES, chance=3, protocol=PROTOCOL)
    for name in NAMES:
        # MED, DCI and InfoMEC are ratios of numbers near 0, so chance itself varies.
        wide = name.startswith(("info_m", "info_c", "dci", "med", "modularity"))
        assert abs(result.scores[name] - result.chance[name]) < (0.35 if wide else 0.06), name
    assert abs(result.chance["explicitness"] - 0.5) < 0.03


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
