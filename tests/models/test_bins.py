"""Quantisers fitted to codes: published tables of Lloyd-Max quantisers, brute force, and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.shape_checks import no_checks

from mmdprior import InputError
from mmdprior.models.bins import BinQuantiser, allocated_bins, fit_bins


def gaussian(n=100_000, d=2, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def entropy(indices):
    counts = np.bincount(indices)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def mse(quantiser, z):
    return float((quantiser.eval()(z) - z).square().mean())


# J. Max, Quantizing for minimum distortion (1960), tables I and II: mean squared errors for N(0, 1).
LLOYD_MAX = {2: 0.3634, 3: 0.1902, 4: 0.1175, 8: 0.03454, 16: 0.009497, 32: 0.002499}
BEST_UNIFORM = {2: 0.3634, 3: 0.1902, 4: 0.1188, 8: 0.03744, 16: 0.01154}


@pytest.mark.parametrize(("levels", "expected"), LLOYD_MAX.items())
def test_lloyd_reaches_the_errors_of_max_for_a_gaussian(levels, expected):
    assert mse(fit_bins(gaussian(), levels), gaussian(seed=1)) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("levels", "expected"), BEST_UNIFORM.items())
def test_uniform_reaches_the_errors_of_max_for_a_gaussian(levels, expected):
    # Means as values are slightly better than the middles of the table.
    error = mse(fit_bins(gaussian(), levels, "uniform"), gaussian(seed=1))
    assert LLOYD_MAX[levels] * 0.97 < error < expected * 1.03


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_lloyd_is_near_the_best_of_all_partitions(levels):
    codes = gaussian(14, 1, seed=levels).double()
    ordered = codes[:, 0].sort().values.numpy()
    best = min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))
        for cuts in itertools.combinations(range(1, 14), levels - 1)
    )
    fitted = fit_bins(codes, levels).eval()
    assert float((fitted(codes) - codes).square().sum()) <= 1.5 * best + 1e-12  # local minima
    for kind in ("uniform", "quantile"):
        other = fit_bins(codes, levels, kind).eval()
        assert mse(fitted, codes) <= mse(other, codes) + 1e-12


@pytest.mark.parametrize("levels", [2, 3, 8, [4, 7]])
def test_quantile_cells_have_equal_mass_and_means_as_values(levels):
    codes = gaussian(2000).double()
    quantiser = fit_bins(codes, levels, "quantile")
    indices = quantiser.indices(codes)
    for j, count in enumerate(quantiser.levels):
        assert entropy(indices[:, j].numpy()) == pytest.approx(math.log2(count), abs=1e-4)
        for k in range(count):
            cell = codes[indices[:, j] == k, j]
            assert float(quantiser.table[j, k]) == pytest.approx(float(cell.mean()), abs=1e-5)


@pytest.mark.parametrize("codes", [torch.zeros(50, 2), torch.arange(3.0).repeat(20)[:, None].repeat(1, 2)])
@pytest.mark.parametrize("kind", ["lloyd", "uniform", "quantile"])
def test_constant_and_discrete_codes(codes, kind):
    quantiser = fit_bins(codes, 4, kind).eval()
    assert torch.isfinite(quantiser(codes)).all()
    if kind == "lloyd":
        assert mse(quantiser, codes) < 1e-12


@pytest.mark.parametrize("bits", [1.0, 2.0, 4.5])
def test_allocated_cells_have_the_entropy_and_equal_shares_of_the_distortion(bits):
    scales = torch.tensor([1.0, 4.0, 10.0])
    codes = gaussian(50_000, 3)
    quantiser = allocated_bins(codes, scales, bits).eval()
    indices = quantiser.indices(codes)
    assert np.mean([entropy(column.numpy()) for column in indices.T]) == pytest.approx(bits, abs=0.01)
    if bits > 3:  # cells are small
        distortion = ((quantiser(codes) - codes) * scales).square().mean(0)
        assert float(distortion.max() / distortion.min()) < 1.1
    # Better than equal levels, for the distortion that the sensitivities define.
    if bits < 3:
        equal = fit_bins(codes, round(2**bits)).eval()
        assert float(((quantiser(codes) - codes) * scales).square().mean()) < float(
            ((equal(codes) - codes) * scales).square().mean()
        )


def test_dimensions_with_other_numbers_of_levels_are_padded():
    quantiser = BinQuantiser([[0.0], [-1.0, 1.0]], [[-1.0, 1.0], [-2.0, 0.0, 2.0]]).eval()
    z = torch.tensor([[9.0, 9.0], [-9.0, 0.0], [0.0, 1.0]])
    assert quantiser(z).tolist() == [[1.0, 2.0], [-1.0, 0.0], [1.0, 2.0]]
    assert quantiser.levels == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((gaussian(10), 4, "kmeans"), "bins: 'kmeans' received; expected one of lloyd, uniform, quantile"),
        ((gaussian(3), 4), "codes: 3 received; 4 levels need at least as many"),
        ((gaussian(9), [2, 2, 2]), "levels: 3 numbers received; give one per dimension, 2"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(InputError, match=text), no_checks():
        fit_bins(*arguments)


def test_lengths_that_do_not_fit():
    with pytest.raises(InputError, match=r"edges: lengths \[1\] received; expected one less"):
        BinQuantiser([[0.0]], [[1.0]])
