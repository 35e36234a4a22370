"""Active dimensions and the effective rank."""

import numpy as np
import pytest
import torch
from helpers.codes import QUICK, equicorrelated

from mmdprior import InputError, Latent, lps
from mmdprior.metrics import active_dimensions, effective_rank, importance, independence
from mmdprior.metrics.protocol import split_rows


def test_plain_codes_and_deterministic_latents_have_one_rule():
    z = torch.randn(500, 4) * torch.tensor([1.0, 2e-3, 1e-4, 0.0]) + torch.tensor([0.0, 1.0, 0.0, 0.1])
    expected = [True, True, True, False]
    assert active_dimensions(z).tolist() == expected
    assert active_dimensions(z.double()).tolist() == expected
    assert active_dimensions(Latent(z, z)).tolist() == expected
    with pytest.warns(UserWarning, match="constant column 3"):
        assert lps(z).active.tolist() == expected
    assert independence(z, thorough=False).active.tolist() == expected
    assert (~np.isnan(importance(z)).all(0)).tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "column", "active"),
    [
        (torch.float64, lambda z: 1e8 + z, True),
        (torch.float64, lambda z: 1e-310 * z, True),
        (torch.float64, lambda z: 1e300 * z, True),
        (torch.float32, lambda z: 1e8 + 100 * z, True),
        (torch.float32, lambda z: 1e8 + z, False),  # float32 has steps of 8 at 1e8
        (torch.float32, lambda z: 1e-42 * z, True),
        (torch.float64, lambda z: 0.1 + 1e-17 * z, False),
        (torch.float64, lambda z: 0.3 + 2e-17 * z, False),
        (torch.float32, lambda z: 3e38 + 0 * z, False),
    ],
)
def test_only_columns_that_are_constant_to_rounding_are_inactive(dtype, column, active):
    z = torch.randn(300, 3, dtype=torch.float64)
    z[:, 1] = column(z[:, 1])
    assert active_dimensions(z.to(dtype)).tolist() == [True, active, True]


def test_posterior_variances_decide_where_there_are_any():
    mean = torch.randn(2000, 3) * torch.tensor([1.0, 0.2, 0.05])
    log_var = torch.zeros(2000, 3)
    assert active_dimensions(Latent(mean, mean, log_var)).tolist() == [True, True, False]
    for scale in (1e-180, 1e-20, 1e20, 1e180):  # variances of these overflow or underflow
        shift = torch.full_like(log_var, 2 * np.log(scale), dtype=torch.float64)
        scaled = Latent(scale * mean.double(), scale * mean.double(), shift)
        assert active_dimensions(scaled).tolist() == [True, True, False], scale
    half = Latent(mean.bfloat16(), mean.bfloat16(), log_var.bfloat16())
    assert active_dimensions(half).tolist() == [True, True, False]


def test_constant_codes_have_no_active_dimension():
    assert not active_dimensions(torch.full((50, 3), 0.1)).any()


def test_inactive_dimensions_are_neither_targets_nor_inputs():
    z = torch.randn(1000, 4)
    z[:, 2] = 3.0
    with pytest.warns(UserWarning, match="constant column 2"):
        result = lps(z)
    assert result.active.tolist() == [True, True, False, True]
    assert np.isnan(result.r2[2])
    assert result.to_dict()["r2"][2] is None
    np.testing.assert_allclose(result.r2[[0, 1, 3]], lps(z[:, [0, 1, 3]]).r2)


def test_fewer_than_two_active_dimensions_have_no_score():
    z = torch.zeros(100, 3)
    z[:, 0] = torch.randn(100)
    with pytest.warns(UserWarning, match="constant columns 1, 2"):
        result = lps(z)
    assert np.isnan(result.score)
    assert result.to_dict()["score"] is None
    with pytest.warns(UserWarning, match="constant columns 0, 1, 2"):
        assert np.isnan(lps(torch.zeros(100, 3)).max)


@pytest.mark.parametrize(
    "active",
    [
        [0, 1, 3],
        (3, 0, 1),
        np.array([0, 1, 3]),
        torch.tensor([1, 0, 3]),
        [True, True, False, True],
        np.array([True, True, False, True]),
    ],
)
def test_active_is_a_mask_or_indices(active):
    z, _ = equicorrelated(0.5, d=4, n=300)
    result = lps(z, active=active, **QUICK)
    assert result.active.tolist() == [True, True, False, True]
    assert importance(z, active=active, repeats=1).shape == (4, 4)
    assert independence(z, active=active, thorough=False).active.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    "active", [[1, 1, 0, 1], [0, 4], [-1, 0], [0.0, 1.0], [[0, 1]], ["a", "b"], [1 + 0j, 0j], {"0": 1}, 2]
)
def test_active_that_is_neither_raises(active):
    with pytest.raises(InputError, match=r"active: .* received; give 4 booleans, or distinct indices"):
        lps(torch.randn(50, 4), active=active)


def test_constant_columns_are_dropped_from_a_mask_of_the_user():
    z = torch.randn(300, 4)
    z[:, 1] = 2.0
    with pytest.warns(UserWarning, match="constant column 1"):
        assert lps(z, active=[0, 1, 2], **QUICK).active.tolist() == [True, False, True, False]


class TestEffectiveRank:
    def test_of_independent_and_of_parallel_dimensions(self):
        assert effective_rank(torch.randn(20_000, 6)) == pytest.approx(6, abs=0.01)
        assert effective_rank(torch.randn(500, 1) @ torch.ones(1, 4)) == pytest.approx(1, abs=1e-6)

    def test_of_huge_codes(self):
        assert effective_rank(1e200 * torch.randn(500, 3, dtype=torch.float64)) == pytest.approx(3, abs=0.1)

    def test_does_not_depend_on_an_offset(self):
        z = torch.randn(400, 4, dtype=torch.float64)
        expected = lps(z, "linear", **QUICK).effective_rank
        assert lps(z + 1e9, "linear", **QUICK).effective_rank == pytest.approx(expected, abs=1e-4)

    def test_of_lps_is_that_of_the_test_codes(self):
        z, _ = equicorrelated(0.5, d=4, n=500)
        rows = split_rows(500, 1, 0, uses_validation=False)[0]
        assert lps(z).effective_rank == effective_rank(z[rows.test])
