"""Figures of codes: each draws every kind of codes, or states in one line why it cannot."""

import re

import numpy as np
import pytest
import torch
from helpers.figure_text import figure_text

from mmdprior.figures import (
    PriorShape,
    correlation_map,
    importance_map,
    marginals,
    pair_grid,
    pair_map,
    quantiles,
)
from mmdprior.figures.marginals import dependence, strongest_pairs
from mmdprior.figures.style import pixels
from mmdprior.priors import Gaussian

N = 200
RNG = np.random.default_rng(0)


def not_finite():
    z = RNG.normal(size=(N, 3))
    z[3, 1], z[5, 0], z[7, 2] = np.nan, np.inf, -np.inf
    return z


CODES = {
    "usual": RNG.normal(size=(N, 4)),
    "collapsed": np.zeros((N, 4)),
    "partly collapsed": RNG.normal(size=(N, 4)) * np.array([1, 0, 1, 1e-9]),
    "one dimension": RNG.normal(size=(N, 1)),
    "512 dimensions": RNG.normal(size=(N, 512)),
    "not all finite": not_finite(),
    "nothing finite": np.full((N, 3), np.nan),
    "one row": RNG.normal(size=(1, 3)),
    "none": np.zeros((0, 3)),
    "huge": 1e30 * RNG.normal(size=(N, 3)),
    "integers": RNG.integers(0, 3, size=(N, 3)),
}
SHAPES = {d: PriorShape.of(Gaussian(d), draws=50) for d in (1, 3, 4, 512)}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("draw", ["marginals", "marginals, no prior", "quantiles", "pairs", "correlation"])
def test_figures_draw_any_codes_or_state_why_not(draw, name):
    z = CODES[name]
    shape = SHAPES[z.shape[1]]
    figure = {
        "marginals": lambda: marginals(z, shape),
        "marginals, no prior": lambda: marginals(torch.from_numpy(z)),
        "quantiles": lambda: quantiles(z, shape),
        "pairs": lambda: pair_grid(z, shape),
        "correlation": lambda: correlation_map(z),
    }[draw]()
    image = pixels(figure, dpi=30)
    assert image.ndim == 3
    assert image.std() > 1
    if name == "not all finite":
        assert "3 of 200 codes are not finite and left out" in figure_text(figure)
    if name in ("nothing finite", "none"):
        assert re.search("no finite codes|fewer than two", figure_text(figure))
    if name in ("collapsed", "one dimension") and draw == "pairs":
        assert "fewer than two dimensions vary" in figure_text(figure)


MATRICES = {
    "usual": np.abs(RNG.normal(size=(5, 5))),
    "zero": np.zeros((4, 4)),
    "one": np.array([[np.nan]]),
    "nothing finite": np.full((40, 40), np.nan),
    "infinite": np.array([[np.nan, np.inf], [0.5, np.nan]]),
    "512": RNG.normal(size=(512, 512)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("draw", [lambda m: pair_map(m, "pairs"), importance_map])
def test_maps_draw_any_matrix_or_state_why_not(draw, name):
    figure = draw(MATRICES[name])
    assert pixels(figure, dpi=30).std() > 1
    if name in ("one", "nothing finite"):
        assert "no finite values" in figure_text(figure)


def test_dependence_detects_circles_and_parabolas():
    angle = RNG.uniform(0, 2 * np.pi, 4000)
    z = np.column_stack([np.cos(angle), np.sin(angle), *RNG.normal(size=(3, 4000)), np.ones(4000)])
    z[:, 3] = z[:, 2] ** 2
    measure = dependence(z)
    assert abs(np.corrcoef(z.T[:2])[0, 1]) < 0.05
    assert set(strongest_pairs(measure, 2)) == {(0, 1), (2, 3)}
    assert np.isnan(measure[5]).all()
    assert strongest_pairs(np.full((3, 3), np.nan), 2) == []
