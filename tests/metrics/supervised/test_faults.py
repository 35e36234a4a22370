"""Faults of public implementations, each of which must not occur here."""

import math

import numpy as np
import pytest
import torch
from helpers.factor_tables import grid, sample, scores_of, standardised
from helpers.shape_checks import no_checks

from mmdprior import InputError
from mmdprior.metrics import SupervisedProtocol, disentanglement
from mmdprior.metrics.supervised.factors import read_factors
from mmdprior.metrics.supervised.information import information_of
from mmdprior.metrics.supervised.scores import SCORES

N = 600
FACTORS = sample((3, 4, 5), N)
CODES = standardised(FACTORS) + 0.1 * np.random.default_rng(1).normal(size=(N, 3))
FAST = SupervisedProtocol(train_votes=300, test_votes=150, probe="logistic")
CHEAP = tuple(name for name in SCORES if name != "dci_es")


@pytest.mark.parametrize("value", [0.0, 7.0, -1.0])
def test_a_factor_of_one_value_changes_no_score(value):
    """MIG divides by its entropy of 0."""
    more = np.column_stack([FACTORS, np.full(N, value)])
    with_constant = scores_of(CODES, more, *CHEAP, protocol=FAST)
    assert with_constant.scores == pytest.approx(scores_of(CODES, FACTORS, *CHEAP, protocol=FAST).scores)
    assert "'factor_3'" in with_constant.warnings[0]
    assert not with_constant.factors[3].scored
    assert np.isnan(with_constant.matrices["mutual_information"][:, 3]).all()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_dead_codes_change_no_score_but_completeness_and_are_not_counted(place):
    """Public code counts dead codes as active, stops at the first one, or divides by their deviation of 0."""
    names = tuple(name for name in CHEAP if name != "dci_completeness")
    more = np.insert(CODES, place, 2.0, axis=1)
    result = scores_of(more, FACTORS, *names, protocol=FAST)
    assert result.active.sum() == 3
    assert not result.active[place]
    assert result.scores == pytest.approx(scores_of(CODES, FACTORS, *names, protocol=FAST).scores)
    assert np.isnan(result.matrices["importance"][place]).all()


def test_votes_of_an_active_subset_belong_to_the_right_codes():
    """FactorVAE votes were indexed within the active codes."""
    padded = np.hstack([np.zeros((N, 4)), CODES])
    assert scores_of(padded, FACTORS, "factor_vae", protocol=FAST).scores["factor_vae"] > 0.95


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e4])
def test_a_code_of_small_range_is_not_dead(scale):
    """An activity rule on unscaled codes drops it. Ours is relative, and a mask overrules it."""
    codes = CODES * [1, 1, scale]
    scores = scores_of(codes, FACTORS, "info_m", "info_c", "mig", active=np.ones(3, dtype=bool)).scores
    assert scores == pytest.approx(scores_of(CODES, FACTORS, "info_m", "info_c", "mig").scores, abs=1e-6)


def test_dci_is_accuracy_on_test_rows():
    """Informativeness was called an error, or measured on training rows, where trees reach 1 on noise."""
    noise = np.random.default_rng(2).normal(size=(N, 2))
    assert scores_of(noise, FACTORS, "dci_informativeness").scores["dci_informativeness"] < 0.45
    assert scores_of(CODES, FACTORS, "dci_informativeness").scores["dci_informativeness"] > 0.95


UNDEFINED = {
    "one code": (CODES[:, :1], FACTORS, {"dci_completeness", "info_c"}),
    "one active code": (CODES * [1, 0, 0], FACTORS, {"info_c"}),
    "one factor": (
        CODES,
        FACTORS[:, :1],
        {"beta_vae", "factor_vae", "modularity", "med", "dci_disentanglement", "info_m"},
    ),
    "no factor": (CODES, np.ones((N, 2)), set(CHEAP)),
    "one row per level": (
        CODES,
        np.random.default_rng(0).permutation(N)[:, None].repeat(2, 1),
        {"beta_vae", "factor_vae", "irs", "info_m", "info_c", "explicitness", "explicitness_scaled"},
    ),
}


@pytest.mark.parametrize("case", sorted(UNDEFINED))
def test_undefined_scores_are_named(case):
    codes, factors, expected = UNDEFINED[case]
    kind = "discrete" if case == "one row per level" else None
    with pytest.warns(UserWarning, match="disentanglement: "):
        result = disentanglement(codes, factors, scores=CHEAP, kinds=kind, protocol=FAST, chance=0)
    undefined = {name for name, score in result.scores.items() if math.isnan(score)}
    assert undefined == expected
    text = "\n".join(result.warnings)
    assert all(name in text for name in undefined)


def test_a_level_that_is_in_one_part_only():
    """ROC AUC crashes when the test rows lack a class."""
    factors = FACTORS.copy()
    factors[:3, 0] = 9  # three rows: some split has none of them in one part
    for seed in range(4):
        scores = scores_of(
            CODES, factors, "explicitness", "sap", "dci_informativeness", seed=seed, protocol=FAST
        )
        assert all(math.isfinite(score) for score in scores.scores.values())


def test_codes_as_rows_and_as_columns_are_not_confused():
    """A view instead of a transpose gave a MIG of about 1e-3."""
    fortran = np.asfortranarray(CODES)
    strided = torch.tensor(np.hstack([CODES, CODES]))[:, ::2][:, [0, 2, 1]]
    expected = scores_of(CODES, FACTORS, "mig").scores["mig"]
    assert expected > 0.9
    assert scores_of(fortran, FACTORS, "mig").scores["mig"] == expected
    assert scores_of(strided, FACTORS, "mig").scores["mig"] == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [(3, 5, 7, 4), (6, 10, 3), (9, 7, 11, 2)])
def test_rounding_is_no_information(sizes):
    """The rounding error of entropies counted as information about one factor, so that modularity was 1."""
    for seed in range(6):
        factors = sample(sizes, 500, seed=seed)
        scores = scores_of(np.full((500, 2), 3.7), factors, "modularity", "med", "mig_sup", "dcimig").scores
        assert set(scores.values()) == {0.0}
    table = grid(sizes)  # the first two factors as codes of the others
    cells = torch.tensor(table[:, :2].T.copy())
    assert not information_of(cells, 16, read_factors(table[:, 2:], len(table))[0]).mutual.any()


def test_the_two_scales_of_sap_have_two_names():
    scores = scores_of(CODES, FACTORS, "sap", "sap_r2").scores
    assert scores["sap_r2"] > 0.9
    assert scores["sap"] < scores["sap_r2"] - 0.2


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"it needs scikit-learn, pip install 'mmdprior\[metrics\]'"):
        scores_of(CODES, FACTORS, "dci_disentanglement")
    assert scores_of(CODES, FACTORS, "mig", "sap", "irs").scores["mig"] > 0.9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scores": ["MIG"]}, "scores: 'MIG' received; expected some of beta_vae"),
        ({"chance": -1}, "chance: -1 received"),
        ({"factors": FACTORS[:-1]}, "'factor_0' has shape (599,); give one value per code, (600,)"),
        ({"factors": FACTORS[:, :0]}, "no column received"),
        ({"factors": np.where(FACTORS == 2, np.inf, FACTORS)}, "infinity in 'factor_0'"),
        ({"names": ["a", "a", "b"]}, "give 3 distinct names"),
        ({"kinds": "nominal"}, "'nominal' received for 'factor_0'; expected one of discrete"),
        ({"kinds": {"shape": "discrete"}}, "'shape' received; give one of"),
        ({"kinds": ["discrete"]}, "kinds: 1 received for 3 factors"),
        ({"periods": {"factor_0": -1.0}}, "give a positive number"),
        ({"codes": CODES[:3], "factors": FACTORS[:3]}, "3 rows received for 3 columns; give at least 4"),
        ({"active": np.ones(2)}, "active: "),
    ],
    ids=lambda value: None,
)
def test_invalid_input_is_one_line(options, text):
    arguments = {"codes": CODES, "factors": FACTORS, **options}
    with no_checks(), pytest.raises(InputError) as error:
        disentanglement(arguments.pop("codes"), arguments.pop("factors"), **arguments)
    assert text in str(error.value)
    assert "\n" not in str(error.value)
