"""Rare values in bits, one-hot codes, counts, sparse and clipped codes, against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score

from mmdprior import independence, lps
from mmdprior.metrics.pairs import distance_correlation, mutual_information
from mmdprior.metrics.supervised.factors import _quantile_levels as quantile_levels
from mmdprior.predictors import InformationPredictor, MLPPredictor
from mmdprior.priors import SpikeAndSlab

N = 4000
FAST = InformationPredictor(hidden=(32,), epochs=40)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def twice(column):
    return column.flatten()[:, None].repeat(1, 2).float()


def bits(probability, seed=0):
    return (torch.rand(N, generator=generator(seed)) < probability).float()


def levels(*probabilities):
    return torch.multinomial(torch.tensor(probabilities), N, True, generator=generator()).float()


def normals(d=1, seed=9):
    return torch.randn(N, d, generator=generator(seed))


def entropy(column):
    return stats.entropy(np.unique(column, return_counts=True)[1])


DISCRETE = {
    "bits of 5 %": bits(0.05),
    "bits of 1 %": bits(0.01),
    "counts": torch.poisson(torch.full((N,), 0.1), generator=generator(3)),
    "levels": levels(0.9, 0.07, 0.02, 0.01),
    "a rare last level": levels(0.6, 0.2, 0.15, 0.05),
    "integers": normals().round(),
}


@pytest.mark.parametrize("name", ["bits of 5 %", "bits of 1 %", "levels", "a rare last level"])
def test_information_of_a_discrete_dimension_twice_is_its_entropy(name):
    column = DISCRETE[name].flatten()
    result = lps(twice(column), FAST, null=0, bootstrap=0)
    nats = entropy(column)
    assert result.extra["nats"].mean() == pytest.approx(nats, abs=0.12 * nats + 0.01)
    assert result.p_value == pytest.approx(0.01)


def test_information_of_a_one_hot_code():
    codes = torch.nn.functional.one_hot(levels(*[0.1] * 10).long(), 10).float()
    right = 1 - math.exp(2 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9)))
    result = lps(codes, FAST, null=0, bootstrap=0)
    assert result.score == pytest.approx(right, abs=0.02)
    assert result.p_value <= 0.05


@pytest.mark.parametrize("kind", ["spike and slab", "ReLU"])
def test_information_of_a_sparse_dimension_twice(kind):
    column = SpikeAndSlab(1, probability=0.1).sample(N, generator()) if kind == "spike and slab" else None
    column = (normals() - 1.2816).relu() if column is None else column
    support, cells = entropy(column != 0), 12  # 240 rows of the slab, 20 per cell
    score = lps(twice(column), FAST, null=0, permutations=0, bootstrap=0).score
    assert 1 - math.exp(-2 * support) < score < 1 - math.exp(-2 * (support + 0.11 * math.log(cells))) + 0.03


def test_information_of_zeros_in_the_same_rows():
    codes = normals(2) * (bits(0.05)[:, None] == 0)
    nats = lps(codes, FAST, null=0, permutations=0, bootstrap=0).extra["nats"].mean()
    assert nats == pytest.approx(entropy(codes[:, 0] == 0), rel=0.35)


SHOWN = {
    "zeros in the same rows": normals(2) * (bits(0.04)[:, None] == 0),
    "square of a slab": torch.cat([s := normals() * bits(0.05)[:, None], s**2], 1),
    "an indicator of zero": torch.stack([z := normals()[:, 0] * (bits(0.04) == 0), (z == 0).float()], 1),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_best_additive_function_sees_atoms(name):
    assert lps(SHOWN[name], "additive", null=0, bootstrap=0).r2.min() > 0.99


def test_networks_see_an_atom_among_continuous_values():
    result = lps(SHOWN["an indicator of zero"], MLPPredictor((32,), epochs=15), null=0, bootstrap=0)
    assert result.r2[1] > 0.98


@pytest.mark.parametrize("name", DISCRETE)
def test_mutual_information_of_discrete_dimensions_is_scikit_learns(name):
    column = DISCRETE[name].flatten()
    other = torch.where(torch.rand(N, generator=generator(5)) < 0.2, column.roll(1), column)
    codes = torch.stack([column, other], 1)
    tables = [len(np.unique(part, axis=0)) for part in (codes, column, other)]
    correction = (tables[0] - tables[1] - tables[2] + 1) / (2 * N)
    expected = mutual_info_score(column, other) - correction
    assert mutual_information(codes).max == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("probability", [0.03, 0.003])
def test_mutual_information_of_a_bit_twice_is_its_entropy(probability):
    pairs = mutual_information(twice(bits(probability)))
    assert pairs.max == pytest.approx(entropy(bits(probability)) + 1 / (2 * N), abs=1e-9)
    assert pairs.max > pairs.level


def test_the_chance_level_of_mutual_information_is_that_of_the_cells_in_use():
    level = mutual_information(torch.stack([bits(0.05), bits(0.3, 1)], 1)).level
    assert level == pytest.approx((stats.chi2.isf(0.05, 1) - 1) / (2 * N))


def test_a_dimension_without_its_rare_value_in_the_subsample_has_no_distance_correlation():
    codes = torch.cat([normals(2), torch.zeros(N, 1)], 1)
    codes[7, 2] = 1.0
    pairs = distance_correlation(codes, max_rows=100, seed=1)
    assert pairs.matrix[0, 2] == pairs.matrix[1, 2] == 0
    assert np.isfinite(pairs.max)


def test_independent_codes_with_atoms_are_rejected_at_the_level():
    p_values, above = [], []
    for seed in range(25):
        normal = torch.randn(600, 4, generator=generator(seed))
        rare = torch.rand(600, 4, generator=generator(seed + 100))
        codes = torch.where(torch.tensor([True, False, False, True]), normal, rare.lt(0.05).float())
        codes[:, 3] = normal[:, 3].clamp(-1, 1)
        codes[:, 0] *= rare[:, 0] < 0.1
        p_values.append(lps(codes, "additive", seed=seed, null=0, bootstrap=0).p_value)
        pairs = mutual_information(codes)
        above.append(pairs.max > pairs.level)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.15
    assert np.mean(above) <= 0.15


def in_random_order(codes, seed):
    """Return normal scores with ties broken at random, by scipy."""
    noise = np.random.default_rng(seed).random(codes.shape)
    ranks = [np.argsort(np.lexsort((u, z))) for z, u in zip(codes.T.numpy(), noise.T, strict=True)]
    return stats.norm.ppf((np.array(ranks) + 0.5) / len(codes))


TIED = {
    "bits": (twice(bits(0.05)), entropy(bits(0.05))),
    "fair bits": (twice(bits(0.5)), math.log(2)),
    "40 levels": (twice((40 * torch.special.ndtr(normals())).floor()), math.log(40)),
    "counts": (twice(DISCRETE["counts"]), entropy(DISCRETE["counts"])),
    "ReLU": (torch.cat([(z := normals()), 0.8 * z + 0.6 * normals(seed=2)], 1).relu(), 0.4),
}


@pytest.mark.parametrize("name", TIED)
def test_the_total_correlation_of_ranks_breaks_ties_at_random(name):
    codes, truth = TIED[name]
    logs = [np.linalg.slogdet(np.corrcoef(in_random_order(codes, seed)))[1] for seed in range(5)]
    result = independence(codes, thorough=False).total_correlation_ranks
    assert result == pytest.approx(-0.5 * np.mean(logs), abs=0.02)
    assert result <= truth


@pytest.mark.parametrize("predictor", ["linear", "additive"])
@pytest.mark.parametrize("name", TIED)
def test_the_information_bound_of_ranks_is_a_bound_for_ties(name, predictor):
    codes, truth = TIED[name]
    bound = lps(codes, predictor, transform="rank_gaussian", null=0, permutations=0, bootstrap=0)
    # Two dimensions: total plus dual total correlation is twice the mutual information.
    assert 0.05 < bound.information_bound <= 2 * truth + 0.02


def test_levels_of_a_continuous_factor_keep_rare_values():
    factor = (normals()[:, 0] * bits(0.05)).double().numpy()
    levels, count = quantile_levels(factor, 10)
    assert count == 10
    assert len(np.unique(levels[factor == 0])) == 1
    assert np.bincount(levels)[np.unique(levels[factor != 0])].sum() == (factor != 0).sum()
