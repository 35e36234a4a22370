"""The intrinsic dimension of linear subspaces, spheres and curves, with and without noise."""

import pytest
import torch

from mmdprior import InputError
from mmdprior.flows import intrinsic_dimension, two_nearest_neighbours


def sphere(n, dim):
    return torch.nn.functional.normalize(torch.randn(n, dim + 1), dim=1)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_linear_subspaces(dim):
    points = torch.randn(2000, dim) @ torch.randn(dim, 10)
    assert two_nearest_neighbours(points) == pytest.approx(dim, rel=0.12)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_spheres(dim):
    assert two_nearest_neighbours(sphere(2000, dim)) == pytest.approx(dim, rel=0.12)


def test_without_censoring_it_is_the_mean_of_log_ratios():
    angle = 2 * torch.pi * torch.rand(500, dtype=torch.float64)
    points = torch.stack([angle.cos(), angle.sin()], 1)
    ordered = torch.cdist(points, points).sort(1).values
    expected = 1 / (ordered[:, 2] / ordered[:, 1]).log().mean()
    assert two_nearest_neighbours(points, discard=0.0) == pytest.approx(float(expected), rel=1e-3)


def test_curve_in_many_dimensions_is_deficient():
    t = torch.rand(1000, 1)
    curve = torch.cat([torch.sin(k * t) for k in range(1, 9)], 1)
    result = intrinsic_dimension(curve)
    assert result.dimension == pytest.approx(1, abs=0.2)
    assert result.deficient


@pytest.mark.parametrize("dim", [2, 10, 32])
def test_full_dimension_is_not_deficient(dim):
    for codes in (torch.randn(1500, dim), torch.rand(1500, dim), torch.randn(1500, dim) ** 3):
        assert not intrinsic_dimension(codes).deficient


def test_copies_of_rows_are_used_once():
    points = torch.randn(500, 3)
    assert two_nearest_neighbours(points.repeat(3, 1)) == pytest.approx(two_nearest_neighbours(points))


def test_too_few_points():
    with pytest.raises(InputError, match="points: 19 distinct rows"):
        two_nearest_neighbours(torch.randn(19, 2))
