"""All measures of dependence of one set of codes."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated

from mmdprior import InputError, Latent
from mmdprior.evaluation import Codes, score_codes
from mmdprior.metrics import PriorMatch, independence
from mmdprior.priors import Gaussian
from mmdprior.results import Result


def correlated(rho, n=2000, d=2):
    return equicorrelated(rho, d=d, n=n)[0]


def test_all_measures_exclude_inactive_dimensions():
    z = correlated(0.8, n=500, d=3)
    z = torch.cat([z[:, :1], torch.full((500, 1), 2.0), z[:, 1:]], dim=1)
    result = independence(z, match=PriorMatch(Gaussian(4), n=64))
    without = independence(z[:, [0, 2, 3]])
    assert result.active.tolist() == [True, False, True, True]
    assert result.total_correlation == without.total_correlation
    assert result.total_correlation == pytest.approx(-0.5 * math.log(0.2**2 * 2.6), abs=0.1)
    assert result.covariance_ratio == pytest.approx(3 / (3 + 6 * 0.64), abs=0.05)
    np.testing.assert_array_equal(
        result.mutual_information.matrix[np.ix_([0, 2, 3], [0, 2, 3])], without.mutual_information.matrix
    )
    assert np.isnan(result.mutual_information.matrix[1]).all()
    assert result.active_units == 3
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["dhsic"]["p_value"] == 0.01
    assert plain["mmd_standardised"] == result.match
    assert [0, 2] in [pair[:2] for pair in plain["mutual_information"]["strongest"]]
    assert "our definition" in str(result)
    assert "chance" in str(result)
    assert result.scalars()["mutual_information_max"] == result.mutual_information.max


def test_equal_seeds_give_equal_results_for_arrays_and_tensors():
    z = correlated(0.3, n=400, d=4).float()
    first = independence(z, seed=3).to_dict()
    assert independence(z.numpy(), seed=3).to_dict() == first
    assert independence(z, seed=4).to_dict() != first
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert independence(z, seed=3).to_dict() == first


def test_fewer_than_two_active_dimensions():
    z = torch.zeros(100, 3)
    z[:, 0] = torch.randn(100)
    one, none = independence(z), independence(torch.zeros(100, 3))
    assert one.effective_rank == 1
    assert one.mutual_information is None
    assert math.isnan(one.total_correlation)
    assert math.isnan(none.effective_rank)
    json.dumps(none.to_dict(), allow_nan=False)
    assert "active units" in str(none)


def test_total_correlation_of_a_duplicate_is_infinite():
    z = torch.randn(200, 1).repeat(1, 2)
    result = independence(z)
    assert result.total_correlation == math.inf
    assert result.to_dict()["total_correlation"] is None
    assert "inf nats" in str(result)
    assert result.distance_correlation.max == pytest.approx(1)


def test_active_units_are_those_of_the_means():
    mean = torch.randn(500, 3) * torch.tensor([1.0, 0.2, 0.05])
    result = independence(mean + torch.randn(500, 3), means=mean, thorough=False)
    assert result.active_units == 2
    assert result.mutual_information is None


def test_bad_input_raises():
    with pytest.raises(InputError, match="NaN"):
        independence(torch.full((50, 3), math.nan))
    with pytest.raises(InputError, match="active: shape"):
        independence(torch.randn(50, 3), active=torch.ones(2, dtype=torch.bool))


def test_evaluations_score_means_and_samples():
    mean = torch.randn(600, 3)
    latent = Latent(mean + torch.randn(600, 3), mean, torch.zeros(600, 3))
    result = score_codes(Codes(latent, mean[:, :0], ()), ["linear"], thorough=True)
    tags = result.scalars()
    assert {"independence/covariance_ratio", "independence/dhsic_p_value_sample"} <= tags.keys()
    assert tags["independence/effective_rank"] == result.effective_rank
    assert set(result.to_dict()["independence"]) == {"mean", "sample"}
    assert "independence, sample codes" in str(result)
    quick = score_codes(Codes(latent, mean[:, :0], ()), ["linear"])
    assert quick.independence["mean"].dhsic is None


@pytest.mark.gpu
def test_devices_agree():
    z = correlated(0.3, n=3000, d=8).float()
    cpu, gpu = independence(z).scalars(), independence(z.cuda()).scalars()
    for name, value in cpu.items():
        assert gpu[name] == pytest.approx(value, abs=1e-6), name


def test_results_are_one_kind():
    result = independence(correlated(0.5, n=200))
    for part in (result, result.mutual_information, result.distance_correlation, result.dhsic):
        assert isinstance(part, Result)
        assert json.loads(part.to_json()) == part.to_dict()
        assert str(part) in part._repr_html_()
