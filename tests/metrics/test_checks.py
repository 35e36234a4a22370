"""Errors for invalid codes, warnings for doubtful ones."""

import math
import warnings

import numpy as np
import pytest
import torch

from mmdprior import InputError, lps


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((50, 3), float("nan")), "NaN or infinity in 50 of 50 rows, the first at row 0"),
        (torch.cat([torch.zeros(49, 3), torch.full((1, 3), float("inf"))]), "the first at row 49"),
        (torch.randn(50, 1), "1 column"),
        (torch.randn(50), "two axes"),
        (torch.randn(50, 2, 2), "two axes"),
        (np.array([["a", "b"]] * 50), "<U1 entries"),
        (np.array([[None, 1]] * 50, dtype=object), "object entries"),
        (torch.randn(50, 3, dtype=torch.complex64), "real numbers"),
        (torch.randn(50, 3).to_sparse(), "give a dense array"),
        (torch.zeros(50, 3, device="meta"), "give a dense array"),
        (torch.randn(29, 3), "29 rows received for 3 columns; give at least 30"),
        (torch.randn(41, 40), "give at least 42"),
    ],
)
def test_invalid_codes_raise(codes, message):
    with pytest.raises(InputError, match=message):
        lps(codes)


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, np.int8, np.uint16, np.bool_, ">f8"])
def test_every_real_dtype_is_scored(kind):
    codes = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(kind)
    with pytest.warns(UserWarning, match="only integers"):
        assert lps(codes).score < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:35], "35 rows for 4 columns: fewer than 10 rows per column"),
        (lambda z: torch.cat([z, torch.ones(300, 1)], 1), "constant column 4"),
        (lambda z: torch.cat([z, -2 * z[:, :1] + 1], 1), "duplicated columns .*: 0 = 4"),
        (lambda z: torch.cat([z, torch.randint(0, 9, (300, 1)).float()], 1), "only integers in column 4"),
        (lambda z: z.half(), "codes in float16"),
        (lambda z: z.bfloat16(), "codes in bfloat16"),
        (lambda z: z.numpy().astype(np.float16), "codes in float16"),
    ],
)
def test_doubtful_codes_are_scored_with_a_warning(change, message):
    with pytest.warns(UserWarning, match=message):
        result = lps(change(torch.randn(300, 4)), bootstrap=0)
    assert math.isfinite(result.score)
    assert any(warning in str(result) for warning in result.warnings)


def test_long_lists_of_columns_are_cut():
    z = torch.randn(300, 1).repeat(1, 12)
    z[:, 1:] *= torch.arange(2, 13)
    with pytest.warns(UserWarning, match="0 = 8 and 58 more pairs"):
        lps(z, null=0, bootstrap=0, permutations=0)


def test_sound_codes_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lps(torch.randn(300, 4), bootstrap=0).warnings == ()
