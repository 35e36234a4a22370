"""LPSResult: JSON, text, and names of the previous release."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.codes import QUICK, equicorrelated

from mmdprior import LPSResult, independence, lps
from mmdprior.metrics.hsic import dhsic
from mmdprior.metrics.pairs import distance_correlation, mutual_information
from mmdprior.predictors import AdditivePredictor, ExpertsPredictor, LinearPredictor
from mmdprior.results import Result, to_plain


def test_json_restores_the_result_and_two_runs_write_the_same():
    z, _ = equicorrelated(0.3, d=3, n=300)
    z[:, 2] = 1.0
    for predictor in (LinearPredictor(), AdditivePredictor(4), ExpertsPredictor(2, iterations=6, trial=2)):
        with pytest.warns(UserWarning, match="constant"):
            first, second = (lps(z, predictor, seed=3, null=2) for _ in range(2))
        assert first.to_json() == second.to_json()
        again = LPSResult.from_json(first.to_json())
        assert again.to_json() == first.to_json()
        assert str(again).splitlines()[:-2] == str(first).splitlines()[:-2]
        assert json.loads(first.to_json())["p_values"][2] is None
    bare = lps(z[:, :2], **QUICK)
    assert json.loads(bare.to_json())["interval"] == [None, None]
    assert LPSResult.from_json(bare.to_json()).to_json() == bare.to_json()


def test_json_of_the_previous_release_is_read():
    """It had another name for ``extra``."""
    old = "beside"
    result = lps(equicorrelated(0.3, d=3, n=300)[0], "additive", bootstrap=0)
    fields = result.to_dict()
    fields[old] = fields.pop("extra")
    again = LPSResult.from_json(json.dumps(fields))
    assert again.to_json() == result.to_json()
    with pytest.warns(DeprecationWarning, match="is now LPSResult.extra"):
        assert getattr(again, old) is again.extra


def test_the_table_shows_the_statistics_and_the_protocol():
    z, _ = equicorrelated(0.3, d=3, n=300)
    text = str(lps(z, "additive", seeds=2))
    for part in ("best-function R2", "95% interval", "LPS - null", "p-value", "plain_r2", "60/20/20"):
        assert part in text
    bare = str(lps(z, **QUICK))
    assert "interval" not in bare
    assert "null" not in bare
    small = str(lps(torch.randn(100, 3)))
    assert "3 of 3 dimensions active" in small
    assert "fitted on 80, scored on 20" in small


def test_a_notebook_shows_the_table():
    result = lps(torch.randn(100, 3))
    assert isinstance(result, Result)
    assert "LPS linear" in result._repr_html_()


def test_results_are_equal_if_all_fields_are():
    z, _ = equicorrelated(0.3, d=3, n=300)
    z[:, 2] = 1.0
    with pytest.warns(UserWarning, match="constant"):
        first, second, other = (lps(z, seed=seed, bootstrap=0) for seed in (0, 0, 1))
    assert np.isnan(first.r2[2])
    assert first == second
    assert first != other
    assert first != replace(first, r2=first.r2[:2])
    assert first != replace(first, extra={"nats": first.r2})
    assert first != "LPS"
    assert first in [other, second]
    assert LPSResult.from_json(first.to_json()) == first


@pytest.mark.parametrize("compute", [independence, dhsic, mutual_information, distance_correlation])
def test_results_with_arrays_and_nested_results_are_equal(compute):
    codes, other = equicorrelated(0.3, d=3, n=100)[0], equicorrelated(0.4, d=3, n=100)[0]
    assert compute(codes) == compute(codes)
    assert compute(codes) != compute(other)


def test_the_score_is_the_number_of_a_result():
    result = lps(equicorrelated(0.3, d=3, n=300)[0], **QUICK)
    assert float(result) == result.score
    assert f"{result:.3f}" == f"{result.score:.3f}"
    assert f"{result}" == str(result)
    with pytest.raises(ValueError, match="format code"):
        f"{dhsic(equicorrelated(0.3, d=3, n=100)[0]):.3f}"


def test_integers_of_numpy_are_written_to_json():
    assert to_plain({"seed": np.int64(3), "max": np.float32("nan")}) == {"seed": 3, "max": None}


@pytest.mark.parametrize("active", [0, 1])
def test_collapsed_codes_have_no_score_and_a_reason(active):
    codes = torch.ones(100, 4)
    codes[:, :active] = torch.randn(100, active)
    with pytest.warns(UserWarning, match=f"{active} of 4 dimensions active: no score"):
        text = str(lps(codes))
    assert "nan" not in text
    assert text.startswith(f"LPS linear: no score, {active} of 4 dimensions active")
    assert "needs 2" in text
