"""Permutation importance."""

import numpy as np
import pytest
import torch
from helpers.codes import equicorrelated

from mmdprior import InputError
from mmdprior.figures import importance_map
from mmdprior.metrics import importance


@pytest.mark.parametrize("predictor", ["linear", "additive", "mlp"])
def test_the_input_that_is_used_has_the_importance(predictor):
    """Here z2 depends on z0 only, z1 on nothing, and z3 is inactive."""
    z = torch.randn(1000, 4)
    z[:, 2] = 0.9 * z[:, 0] + 0.3 * z[:, 2]
    z[:, 3] = 0
    matrix = importance(z, predictor, repeats=2)
    assert np.isnan(matrix[3]).all()
    assert np.isnan(np.diag(matrix)).all()
    assert matrix[2, 0] > 0.8
    assert matrix[0, 2] > 0.8
    assert np.abs(matrix[[0, 1, 1, 2], [1, 0, 2, 1]]).max() < 0.05
    np.testing.assert_array_equal(matrix, importance(z, predictor, repeats=2))
    with pytest.raises(InputError, match="repeats: 0"):
        importance(z, predictor, repeats=0)


def test_linear_importance_in_closed_form():
    """With f = sum_j b_j z_j and z_j replaced by an independent copy the error grows by 2 b_j^2 var(z_j)."""
    z, _ = equicorrelated(0.5, d=3, n=50_000)
    expected = 2 * (0.5 / 1.5) ** 2
    matrix = importance(z)
    off = matrix[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off, expected, atol=0.02)


def test_the_heat_map_shows_the_matrix():
    matrix = importance(torch.randn(200, 3))
    figure = importance_map(matrix, "importance")
    image = figure.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), matrix)
    assert figure.axes[0].get_title() == "importance"
    importance_map(np.full((40, 40), np.nan))
