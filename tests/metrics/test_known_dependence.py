"""The true values that `scripts/bench.py lps --validate` compares LPS with."""

import json
import math

import numpy as np
import pytest
import torch
from benches import lps as bench
from benches.scores.families import equicorrelated_r2, families
from benches.scores.oracle import gaussian_pair, parabola, reach_of_pair, ring, two_clusters
from scipy import integrate, stats

from mmdprior import InputError

CASES = {(family.name, family.level): family for family in families(8)}


def test_every_measure_of_a_gaussian_pair_is_its_squared_correlation():
    assert np.allclose(gaussian_pair(0.6), 0.36, atol=1e-6)


def test_pairs_against_closed_forms_and_adaptive_quadrature():
    curve = parabola(0.5)
    assert curve.linear == pytest.approx([0, 0], abs=1e-6)
    assert curve.mean == pytest.approx([0, 2 / 2.25], abs=1e-4)
    assert two_clusters(2.0).linear == pytest.approx([0.64] * 2, abs=1e-6)

    def excess(t):  # E[x|y] = m tanh(m y)
        return 4 * math.tanh(2 * t) ** 2 * (stats.norm.pdf(t - 2) + stats.norm.pdf(t + 2)) / 2

    assert two_clusters(2.0).mean[0] == pytest.approx(integrate.quad(excess, -10, 10)[0] / 5, abs=1e-5)

    def surprise(y, a):
        return stats.norm.pdf(y, a**2, 2) * stats.norm.pdf(a) * stats.norm.logpdf(y, a**2, 2)

    own = integrate.dblquad(surprise, -6, 6, lambda a: a**2 - 14, lambda a: a**2 + 14, epsabs=1e-5)[0]
    y = np.linspace(-14, 50, 4000)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    density = (weights * stats.norm.pdf(y[:, None], nodes**2, 2)).sum(1) / math.sqrt(2 * math.pi)
    nats = own - integrate.trapezoid(density * np.log(density), y)
    assert parabola(2.0).information[0] == pytest.approx(1 - math.exp(-2 * nats), abs=1e-3)


def test_a_ring_with_little_noise_is_known_up_to_a_sign():
    assert ring(0.02).best_function[0] > 0.98
    assert ring(2.0).information[0] < 0.001
    assert ring(0.2).mean == pytest.approx([0, 0], abs=1e-6)


def test_a_grid_that_cuts_the_density_raises():
    with pytest.raises(InputError, match="ends beyond"):
        reach_of_pair(lambda x, y: torch.exp(-x.square() - y.square()), (-1, 1), (-5, 5))


@pytest.mark.parametrize("rho", [0.1, 0.9])
def test_equicorrelated_normals(rho):
    covariance = np.full((8, 8), rho) + (1 - rho) * np.eye(8)
    assert equicorrelated_r2(8, rho) == pytest.approx(1 - 1 / np.linalg.inv(covariance)[0, 0])


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "duplicate"], ids=str)
def test_draws_have_the_stated_linear_r2(case):
    z = CASES[case].draw(50_000, torch.Generator().manual_seed(0)).double().numpy()
    r2 = 1 - 1 / np.diag(np.linalg.inv(np.corrcoef(z.T)))
    assert r2 == pytest.approx(CASES[case].reach.linear, abs=0.012)


def test_the_mean_of_uniform_marginals_by_its_formula():
    """E[ndtr(z_i) | others] = ndtr(m / sqrt(1 + v)), m of variance R2 and v = 1 - R2."""
    r2 = equicorrelated_r2(8, 0.6)
    m, weights = np.polynomial.hermite_e.hermegauss(60)
    best = stats.norm.cdf(m * math.sqrt(r2) / math.sqrt(2 - r2))
    variance = (weights * (best - 0.5) ** 2).sum() / math.sqrt(2 * math.pi)
    assert CASES["uniform", 0.6].target("mlp") == pytest.approx(12 * variance, abs=1e-6)


def test_xor_determines_a_sign():
    """By counting: the others determine the sign of every row that is not flipped."""
    z = CASES["xor", 0.1].draw(200_000, torch.Generator().manual_seed(0))[:, :3].double()
    sign = torch.sign(z[:, 0] * z[:, 1])
    right = float((sign == torch.sign(z[:, 2])).double().mean())
    nats = math.log(2) + right * math.log(right) + (1 - right) * math.log(1 - right)
    reach = CASES["xor", 0.1].reach
    assert reach.information[2] == pytest.approx(1 - math.exp(-2 * nats), abs=0.01)
    assert reach.mean[2] == pytest.approx(float((sign * z[:, 2]).mean() ** 2), abs=0.01)


def test_a_small_validation_writes_continues_and_draws(tmp_path, capsys):
    out, figure = tmp_path / "validation.json", tmp_path / "validation.png"
    codes = [tmp_path / f"{seed}.npy" for seed in range(2)]
    for seed, path in enumerate(codes):
        np.save(path, np.random.default_rng(seed).normal(size=(60, 3)))
    common = ["--validate", "--dims", "4", "--sizes", "300", "--out", str(out), "--figure", str(figure)]
    bench.main([*common, "--predictor", "linear", "--repeats", "1", "--codes"])
    first = json.loads(out.read_text())["cells"]
    bench.main([*common, "--predictor", "linear", "--repeats", "2", "--codes", *map(str, codes)])
    results = json.loads(out.read_text())
    assert results["cells"][: len(first)] == first
    assert len(results["cells"]) == 2 * len(first)
    (row,) = results["summary"]
    assert row["spearman_copulas"] > 0.9
    assert abs(row["bias"]) < 0.05
    assert row["largest_bias_at"] != ""
    assert len(results["agreement"]["scores"]["experts"]) == 2
    assert figure.stat().st_size > 10_000
    assert "linear" in capsys.readouterr().out
