"""Kinds, levels and missing values of factor columns."""

import math

import numpy as np
import pytest
import torch
from helpers.factor_tables import scores_of, standardised

from mmdprior.metrics.supervised.factors import read_factors

RNG = np.random.default_rng(0)
N = 400
LEVELS = RNG.integers(0, 4, N)
NAN = math.nan


def read(column, **options):
    factors, notes = read_factors(np.asarray(column)[:, None], len(column), names=["f"], **options)
    return factors[0], notes


@pytest.mark.parametrize(
    ("column", "kind", "levels"),
    [
        (LEVELS, "ordinal", 4),
        (LEVELS.astype(np.uint8), "ordinal", 4),
        (LEVELS > 1, "ordinal", 2),
        (0.5 + 0.1 * LEVELS, "ordinal", 4),
        (RNG.normal(size=N), "continuous", 20),
        (np.arange(N), "continuous", 20),
        (RNG.choice(["b", "a"], N), "discrete", 2),
        (RNG.choice(np.array(["b", "a", None], dtype=object), N), "discrete", 2),
        (np.repeat(np.arange(N // 2), 2), "ordinal", N // 2),
        (np.full(N, NAN), "ordinal", 0),
    ],
)
def test_kinds_are_detected(column, kind, levels):
    factor, notes = read(column)
    assert (factor.kind, factor.num_levels) == (kind, levels)
    assert bool(notes) == (kind == "continuous")
    present = factor.levels[factor.levels >= 0]
    assert len(present.unique()) == levels


@pytest.mark.parametrize(
    ("column", "missing", "expected"),
    [
        ([-1, 0, 1, 2], "auto", [True, False, False, False]),
        ([-1.0, 0.5, 1.5, 0.5], "auto", [True, False, False, False]),
        ([-1, 1, 1, -1], "auto", [False] * 4),  # two values, as in CelebA
        ([-2, -1, 0, 1], "auto", [False] * 4),
        ([-1, 0, 1, NAN], None, [False, False, False, True]),
        ([9, 0, 1, NAN], 9.0, [True, False, False, True]),
        (["", "a", "b", "a"], "auto", [True, False, False, False]),
    ],
)
def test_missing_values(column, missing, expected):
    factor, notes = read(column * 5, missing=missing)
    assert (factor.levels < 0).tolist() == expected * 5
    assert factor.missing == 5 * sum(expected)
    numbers = not isinstance(column[0], str)
    assert any("-1 is read as missing" in note for note in notes) == (
        missing == "auto" and numbers and expected[0]
    )


def test_forms_of_tables_are_equal():
    codes = standardised(np.stack([LEVELS, LEVELS % 2], 1)) + 0.1 * RNG.normal(size=(N, 2))
    array = np.stack([LEVELS, RNG.integers(0, 3, N)], 1)
    first = scores_of(codes, array, "mig", "sap_r2", names=["a", "b"])
    mapping = {"a": torch.tensor(array[:, 0]), "b": array[:, 1].astype(float)}
    for table in (torch.tensor(array), torch.tensor(array, dtype=torch.bfloat16), array.astype(object)):
        assert scores_of(codes, table, "mig", "sap_r2").scores == first.scores
    assert scores_of(codes, mapping, "mig", "sap_r2").to_dict() == first.to_dict()


def test_missing_values_are_left_out_of_their_factor_only():
    factors = RNG.integers(0, 4, (N, 2)).astype(float)
    codes = standardised(factors) + 0.1 * RNG.normal(size=(N, 2))
    names = ("mig", "sap", "sap_r2", "irs", "explicitness", "mcc_pearson", "info_m", "dci_informativeness")
    full = scores_of(codes, factors, *names)
    holes = factors.copy()
    holes[::4, 0] = NAN
    codes[::4, 0] += 50  # rows that would change every score of factor 0
    codes[::4, 0] -= 50
    partial = scores_of(codes, holes, *names)
    for name in names:
        assert partial.scores[name] == pytest.approx(full.scores[name], abs=0.1), name
    np.testing.assert_array_equal(
        partial.matrices["mutual_information"][:, 1], full.matrices["mutual_information"][:, 1]
    )
    assert partial.factors[0].missing == N // 4


@pytest.mark.parametrize(
    ("values", "period"),
    [(np.linspace(0, 2 * math.pi, N), None), (np.arange(N) % 360, 360.0), (np.arange(N) % 40, None)],
)
def test_circular_factors_correlate_with_cosine_and_sine(values, period):
    turn = values / (period or (40 if values.max() == 39 else 2 * math.pi))
    codes = np.stack([np.cos(2 * math.pi * turn + 1), RNG.normal(size=N)], 1)
    periods = None if period is None else {"angle": period}
    result = scores_of(codes, {"angle": values}, "sap_r2", "mcc_pearson", kinds="circular", periods=periods)
    assert result.matrices["r2"][0, 0] == pytest.approx(1, abs=1e-9)
    assert result.matrices["r2"][1, 0] < 0.05


def test_a_circle_closes():
    """Orientations of dSprites have 0 and 2 pi, which are the same."""
    factor, _ = read(np.linspace(0, 2 * math.pi, 41)[RNG.integers(0, 41, 2 * N)], kinds="circular")
    assert factor.num_levels == 40


def test_discrete_factors_correlate_with_the_mean_of_levels():
    order = np.array([2.0, -1.0, 0.5, 3.0])
    codes = np.stack([order[LEVELS], RNG.normal(size=N)], 1)
    discrete = scores_of(codes, LEVELS, "sap_r2", "mcc_spearman", kinds="discrete")
    assert discrete.matrices["r2"][0, 0] == pytest.approx(1)
    assert discrete.scores["mcc_spearman"] == pytest.approx(1)
    assert scores_of(codes, LEVELS, "sap_r2").matrices["r2"][0, 0] < 0.5


def test_quantile_bins_have_ten_rows_and_keep_ties_together():
    values = np.concatenate([np.zeros(200), RNG.exponential(size=200)])
    factor, _ = read(values, kinds="continuous")
    assert len(factor.levels[:200].unique()) == 1
    assert factor.num_levels > 5
    assert read(RNG.normal(size=45), kinds="continuous")[0].num_levels == 4
